from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crackedge.benchmarks.feeds import TimedVideoSink
from crackedge.benchmarks.footage import Footage, make_footage, scene_frames
from crackedge.benchmarks.intervals import percentile
from crackedge.benchmarks.scenarios import SCENARIOS, measure
from crackedge.edge_runtime.errors import OptionError, OutputError
from crackedge.edge_runtime.models.model import Model, open_model

HERE = tuple(name for name in SCENARIOS if name != "cold")


@pytest.fixture
def model(tiny_model: Path) -> Model:
    return open_model(tiny_model)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Footage:
    return make_footage(tmp_path_factory.mktemp("footage"), size=(320, 240))


@pytest.fixture
def measured(model: Model, footage: Footage) -> dict[str, Any]:
    return measure(model, footage, scenarios=HERE, duration_s=0.2, fps=20, threads=1)


def test_every_scenario_keeps_its_samples_and_says_what_was_used(measured: dict[str, Any]) -> None:
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured
    assert (measured["plan"]["engine"], measured["plan"]["threads"]) == ("dense", 1)
    for name in HERE:
        one = measured["scenarios"][name]
        assert len(one["samples_ms"]) >= 1
        assert all(ms > 0 for ms in one["samples_ms"]), name
        assert all(len(values) == len(one["samples_ms"]) for values in one["stage_samples_ms"].values()), name
        assert one["warmup"]["calls"] >= 1
        assert one["disturbance"]["others_cores"] >= 0
        assert one["energy"]["source"]
    assert measured["scenarios"]["frame"]["peak_memory_mib"] > 20


def test_the_stages_are_those_that_were_promised(measured: dict[str, Any]) -> None:
    stages = {name: set(one["stage_samples_ms"]) for name, one in measured["scenarios"].items()}
    assert stages["tile"] == set()
    assert {"prepare", "invoke", "regions"} <= stages["frame"]
    assert {"wait", "prepare", "invoke", "regions", "mark", "encode"} <= stages["stream"]
    assert {"decode", "prepare", "invoke", "regions", "mark", "encode"} <= stages["file"]
    frame = measured["scenarios"]["frame"]
    inside = sum(np.mean(values) for values in frame["stage_samples_ms"].values())
    assert inside <= np.mean(frame["samples_ms"])


def test_a_camera_too_fast_for_the_model_has_frames_dropped(model: Model, footage: Footage) -> None:
    stream = measure(model, footage, scenarios=["stream"], duration_s=0.3, fps=2000)["scenarios"]["stream"]
    assert stream["dropped"] > 0
    assert stream["captured"] == stream["dropped"] + len(stream["samples_ms"])
    assert stream["late"] > 0
    assert 0 < stream["results_per_s"] < 2000


def test_a_camera_that_can_be_followed_loses_nothing(model: Model, footage: Footage) -> None:
    stream = measure(model, footage, scenarios=["stream"], duration_s=2.0, fps=2)["scenarios"]["stream"]
    assert (stream["captured"], stream["dropped"]) == (4, 0)


def test_a_stream_does_not_wait_for_its_marked_video(
    model: Model, footage: Footage, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = TimedVideoSink.write

    def slow(*arguments: Any) -> None:
        time.sleep(0.1)
        write(*arguments)

    monkeypatch.setattr(TimedVideoSink, "write", slow)
    stream = measure(model, footage, scenarios=["stream"], duration_s=0.4, fps=40)["scenarios"]["stream"]
    assert stream["dropped"] < stream["captured"] / 2
    assert 1 <= len(stream["stage_samples_ms"]["encode"]) < len(stream["samples_ms"])


def test_a_file_shorter_than_the_time_is_decoded_again(model: Model, footage: Footage) -> None:
    file = measure(model, footage, scenarios=["file"], duration_s=1.0)["scenarios"]["file"]
    assert file["frames_per_s"] > 0
    assert len(file["samples_ms"]) > 3


def test_the_harness_costs_less_than_two_per_cent_of_a_tile(footage: Footage) -> None:
    found = measure(open_model("nano"), footage, scenarios=["tile", "null"], duration_s=0.2)["scenarios"]
    tile, null = (percentile(found[name]["samples_ms"], 50) for name in ("tile", "null"))
    assert null < 0.02 * tile  # it is some thousandth: room for a busy machine


def test_a_file_without_a_video_is_refused(model: Model) -> None:
    frames = scene_frames(width=100, height=150, count=1)
    found = measure(model, Footage(frames, None, "given"), scenarios=["frame"], duration_s=0.01, engine="tiles")
    assert found["plan"]["engine"] == "tiles"
    with pytest.raises(OptionError, match="file: this footage has no video"):
        measure(model, Footage(frames, None, "given"), scenarios=["file"], duration_s=0.01)


def test_results_that_cannot_be_written_are_no_measurement(
    model: Model, footage: Footage, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    monkeypatch.setattr("crackedge.benchmarks.timed_runs.RESULTS", "/dev/full")
    with pytest.raises(OutputError, match="TMPDIR"):
        measure(model, footage, scenarios=["stream"], duration_s=0.1, fps=10)


def test_unusable_options_are_refused_before_anything_is_measured(model: Model, footage: Footage) -> None:
    with pytest.raises(OptionError, match="scenario orbit: expected some of tile, frame, stream, file, cold, null"):
        measure(model, footage, scenarios=["orbit"], duration_s=1)
    with pytest.raises(OptionError, match="scenario none"):
        measure(model, footage, scenarios=[], duration_s=1)
    for duration in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(OptionError, match="duration"):
            measure(model, footage, scenarios=["tile"], duration_s=duration)
    with pytest.raises(OptionError, match="fps 0"):
        measure(model, footage, scenarios=["stream"], duration_s=1, fps=0)
