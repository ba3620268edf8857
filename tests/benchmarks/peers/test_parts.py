from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from crackedge.benchmarks.footage import scene_frames
from crackedge.benchmarks.peers import __main__ as command
from crackedge.benchmarks.peers import frame_parts, whole_run
from crackedge.benchmarks.peers.cold_start import cold_start
from crackedge.benchmarks.peers.frame_parts import Bench
from crackedge.benchmarks.peers.growth import growth, growth_plot
from crackedge.benchmarks.peers.target import format_part, missed
from crackedge.benchmarks.peers.whole_run import Trial
from crackedge.edge_runtime.errors import MissingExtraError, OptionError, ProofError
from crackedge.edge_runtime.models.model import open_model

SIZE = 448, 352  # px


def only_here(peer: str) -> Path:
    if peer in ("supervision", "sahi", "openvino"):
        raise MissingExtraError(f"peer {peer}: no network")
    return Path(sys.executable)


@pytest.fixture
def bench(tiny_model: Path, tmp_path: Path) -> Bench:
    pictures = tuple(scene_frames(width=SIZE[0], height=SIZE[1], count=2))
    return Bench(open_model(tiny_model), pictures, tmp_path, threads=1, python_of=only_here)


@pytest.fixture
def trial(tiny_model: Path, tmp_path: Path) -> Trial:
    clip = tmp_path / "clip.mp4"
    whole_run.write_scene(clip, frames=9, size=(320, 256))
    return Trial(open_model(tiny_model), clip, 9, tmp_path, threads=1, python_of=only_here)


def test_the_loop_the_engine_and_one_pass_work_on_the_same_frame(bench: Bench) -> None:
    part = frame_parts.naive(bench, rounds=3, stride=32, at_least=0.0)
    assert json.loads(json.dumps(part)) == part
    assert part["part"] == "naive-32"
    windows = {way: one["results"] for way, one in part["ways"].items()}
    assert windows == {"one pass": 8 * 5, "tile loop, stride 32": 8 * 5, "tiles engine, stride 32": 8 * 5}
    first = part["targets"][0]
    samples = [part["ways"][way]["samples_ms"] for way in ("tile loop, stride 32", "one pass")]
    assert first["median"] == pytest.approx(np.median(np.divide(*samples)), rel=1e-2)
    assert "naive-32: tiny" in format_part(part)
    assert frame_parts.naive(bench, rounds=1, at_least=1e9)["targets"][0]["kept"] is False


def test_a_slicer_is_held_against_the_loop_over_the_same_tiles(bench: Bench) -> None:
    part = frame_parts.slicer(bench, "naive", rounds=2, at_least=0.0)  # the loop stands in for a library
    assert part["agreement"] == {"largest_difference": 0.0}
    assert [one["what"] for one in part["targets"]] == ["naive / one pass", "naive / tile loop"]
    with pytest.raises(ProofError, match="nothing: its scores differ from the loop's"):
        frame_parts.slicer(bench, "nothing", rounds=1, at_least=0.0)  # which sees no tiles
    with pytest.raises(MissingExtraError, match="peer sahi: no network"):
        frame_parts.slicer(bench, "sahi", rounds=1, at_least=0.0)


def test_the_cost_of_measuring_stands_beside_the_engines(bench: Bench) -> None:
    ways = frame_parts.interpreter(bench, rounds=5, at_most=1e9)["ways"]
    assert ways["bare invoke"]["results"] == 14 * 11
    assert ways["nothing here"]["median_ms"] < ways["scan"]["median_ms"]
    assert ways["nothing in a peer"]["median_ms"] < ways["scan"]["median_ms"]


def test_a_classifier_has_no_one_pass_to_compare_with(
    bench: Bench, write_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = open_model(write_model("classifier"), crack_index=1)
    with pytest.raises(OptionError, match="needs a logit map"):
        frame_parts.naive(replace(bench, model=model), rounds=1, at_least=0.0)


def test_whole_runs_scan_every_frame_and_skip_by_name(trial: Trial) -> None:
    part = whole_run.whole_run(trial, "run", peers=["naive", "sahi"], video=True, rounds=1)
    assert json.loads(json.dumps(part)) == part
    assert {one["results"] for one in part["ways"].values()} == {9}
    assert part["skipped"]["sahi"] == "peer sahi: no network"
    assert "naive / crackedge run" in [one["what"] for one in part["targets"]]
    assert not (trial.folder / "ours").exists()
    lines = [json.loads(line) for line in (trial.folder / "theirs.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(9))
    assert whole_run.count_frames(trial.folder / "theirs.mp4") == 9
    with pytest.raises(ProofError, match=r"naive: 9 frames of clip\.mp4 scanned, expected 10"):
        replace(trial, frames=10).theirs("naive", video=False)
    with pytest.raises(ProofError, match="exit code 2"):
        trial.ours("--no-such-option")


def test_a_run_is_held_against_its_slowest_stage_and_its_cores(trial: Trial) -> None:
    part = whole_run.overlap(trial, rounds=1)
    run = {way: one["median_ms"] for way, one in part["ways"].items()}
    stages = [run[name] for name in ("decode", "scan", "mark and encode")]
    assert run["least possible"] == pytest.approx(max(*stages, run["processor"] / part["cores"]), abs=1e-3)
    assert part["targets"][0]["median"] == pytest.approx(run["end to end"] / run["least possible"], rel=1e-2)


def test_a_cold_start_ends_with_a_result(tiny_model: Path, tmp_path: Path) -> None:
    picture = scene_frames(width=SIZE[0], height=SIZE[1], count=1)[0]
    part = cold_start(open_model(tiny_model), picture, folder=tmp_path, starts=1, threads=1)
    first, end = (part["ways"][way]["median_ms"] for way in ("first result", "end of the process"))
    assert 0 < first <= end
    assert part["targets"][0]["at_most"] == 600
    with pytest.raises(OptionError, match="0 starts"):
        cold_start(open_model(tiny_model), picture, folder=tmp_path, starts=0, threads=1)


def test_growth_has_every_size_and_stride(tiny_model: Path) -> None:
    sizes = ((256, 224), (512, 448))
    part = growth(open_model(tiny_model), rounds=1, sizes=sizes, strides=(224, 32), stride_size=sizes[1])
    assert json.loads(json.dumps(part)) == part
    assert [(one["width"], one["threads"]) for one in part["by_size"]] == [(256, 1), (256, 2), (512, 1), (512, 2)]
    windows = {(one["engine"], one["stride"]): one["results"] for one in part["by_stride"]}
    assert windows == {("dense", 224): 6, ("tiles", 224): 6, ("dense", 32): 80, ("tiles", 32): 80}
    assert "megapixels" in format_part(part)
    assert "2 threads" in ElementTree.tostring(ElementTree.fromstring(growth_plot(part)), encoding="unicode")
    with pytest.raises(OptionError, match="no sizes"):
        growth(open_model(tiny_model), rounds=1, sizes=())


def test_the_command_writes_what_it_measured_and_fails_when_a_target_was_missed(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["interpreter", "--model", str(tiny_model), "--rounds", "1", "--json", str(tmp_path)]
    monkeypatch.setattr(command, "MOST_OF_INVOKE", 1e9)
    done = CliRunner().invoke(command.main, options)
    assert done.exit_code == 0, done.output
    assert "bare invoke" in done.stdout
    written = json.loads((tmp_path / "peers_interpreter.json").read_text())
    assert written["schema"] == 1
    assert written["machine"]["cores_usable"] >= 1
    assert written["model"]["sha256"] == open_model(tiny_model).sha256
    assert missed(written) == []
    monkeypatch.setattr(command, "MOST_OF_INVOKE", 0.0)
    failed = CliRunner().invoke(command.main, options)
    assert failed.exit_code == 5
    assert failed.stderr.splitlines()[-1].startswith("Error: interpreter: scan / bare invoke is ")


def test_a_peer_that_cannot_be_had_is_skipped_by_name(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    done = CliRunner().invoke(command.main, ["sahi", "--model", str(tiny_model), "--rounds", "1"])
    assert done.exit_code == 1, done.output  # nothing was measured
    assert "skipped sahi: peer sahi: " in done.stderr
    missing = CliRunner().invoke(command.main, ["naive", "--model", str(tmp_path / "none.tflite")])
    assert missing.exit_code == 1
    assert missing.stderr.splitlines()[-1].startswith("Error: ")
