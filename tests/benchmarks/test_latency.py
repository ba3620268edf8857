from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackedge.benchmarks.latency import bench, format_bench, pace, parse_size, percentile, sample, scene_frames, spread
from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.model import Model, open_model


@dataclass
class Time:
    """A clock that moves only when somebody works or sleeps."""

    now: float = 100.0

    def clock(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def model(tiny_model: Path) -> Model:
    return open_model(tiny_model)


def test_percentiles_of_known_latencies() -> None:
    samples = [float(ms) for ms in np.random.default_rng(3).permutation(np.arange(1, 1001))]
    assert [percentile(samples, p) for p in (50, 90, 99, 99.9, 100)] == [500, 900, 990, 999, 1000]
    assert percentile([7.0], 1) == percentile([7.0], 99) == 7
    figures = spread(samples)
    assert (figures["n"], figures["p50"], figures["p90"], figures["p99"], figures["max"]) == (1000, 500, 900, 990, 1000)
    assert figures["mean"] == pytest.approx(500.5)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0.1, 100))
def test_a_percentile_is_the_least_sample_that_so_many_do_not_exceed(samples: list[float], percent: float) -> None:
    value = percentile(samples, percent)
    assert value in samples
    enough = percent / 100 * len(samples) - 1e-6
    assert sum(s <= value for s in samples) >= enough
    assert sum(s < value for s in samples) < enough + 2e-6 or value == min(samples)


def test_percentiles_of_nothing_are_refused() -> None:
    with pytest.raises(OptionError, match="0 samples"):
        percentile([], 50)
    with pytest.raises(OptionError, match="percentile 0"):
        percentile([1.0], 0)


def test_the_warm_up_does_not_enter_the_samples() -> None:
    time = Time()
    called: list[int] = []

    def call(number: int) -> None:
        called.append(number)
        time.pass_by(1.0 if number == 0 else 0.2 if number < 5 else 0.01)

    got = sample(call, duration_s=1.0, warmup_calls=5, warmup_s=0.5, clock=time.clock)
    assert got.first_ms == pytest.approx(1000)
    assert got.warmup_calls == 5
    assert max(got.total_ms) == pytest.approx(10)
    assert len(got.total_ms) in (100, 101)
    assert called == list(range(len(called)))


def test_slow_calls_are_sampled_three_times_at_least_and_keep_their_stages() -> None:
    time = Time()

    def call(number: int) -> dict[str, float]:
        time.pass_by(30.0)
        return {"total": 5.0 + number, "invoke": 2.0}

    got = sample(call, duration_s=1.0, warmup_calls=1, warmup_s=0, clock=time.clock)
    assert got.total_ms == (6.0, 7.0, 8.0)  # what the call says of itself counts
    assert got.stages_ms == ({"invoke": 2.0},) * 3


def test_work_faster_than_the_camera_drops_nothing_and_is_as_old_as_it_takes() -> None:
    time = Time()
    got = pace(lambda _: time.pass_by(0.010), fps=25, duration_s=2, clock=time.clock, sleep=time.pass_by)
    assert (got.captured, got.dropped) == (50, 0)
    assert got.age_ms == pytest.approx([10.0] * 50)
    assert got.elapsed_s == pytest.approx(49 / 25 + 0.010)


def test_work_slower_than_the_camera_drops_frames_and_stays_young() -> None:
    time = Time()
    got = pace(lambda _: time.pass_by(0.070), fps=25, duration_s=4, clock=time.clock, sleep=time.pass_by)
    assert got.numbers[:4] == (0, 1, 3, 5)  # at 0, 70, 140, 210 ms the newest was captured at 0, 40, 120, 200 ms
    assert got.age_ms[:3] == pytest.approx([70, 100, 90])
    assert got.captured == 100
    assert got.dropped == 100 - len(got.numbers)
    assert len(got.numbers) == pytest.approx(4 / 0.070, abs=1.5)


@given(st.floats(1, 240), st.floats(0.05, 3), st.lists(st.floats(0.0005, 0.4), min_size=1, max_size=20))
@settings(max_examples=80, deadline=None)
def test_the_newest_frame_is_never_older_than_the_cameras_pace(
    fps: float, duration_s: float, work_s: list[float]
) -> None:
    time = Time()
    taken: list[float] = []

    def work(number: int) -> None:
        taken.append(work_s[len(taken) % len(work_s)])
        time.pass_by(taken[-1])

    got = pace(work, fps=fps, duration_s=duration_s, clock=time.clock, sleep=time.pass_by)
    assert got.captured == max(1, math.ceil(duration_s * fps - 1e-6))
    assert list(got.numbers) == sorted(set(got.numbers))
    assert got.numbers[-1] == got.captured - 1  # the camera's last frame is the newest for ever
    waits = [age / 1e3 - busy for age, busy in zip(got.age_ms, taken, strict=True)]
    assert all(-1e-6 <= wait <= 1 / fps + 1e-6 for wait in waits[:-1])


@pytest.mark.parametrize(("text", "size"), [("1920x1080", (1920, 1080)), ("640X480", (640, 480))])
def test_sizes(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["1920", "x", "0x10", "-5x4", "1080p", "12x³"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="size"):
        parse_size(text)


def test_the_frames_are_pictures_and_always_the_same() -> None:
    frames = scene_frames(width=320, height=240, count=2)
    assert [frame.shape for frame in frames] == [(240, 320, 3)] * 2
    assert (frames[0] == scene_frames(width=320, height=240, count=2)[0]).all()
    assert (frames[0] != frames[1]).any()
    assert frames[0].std() > 2  # not blank


def test_a_bench_says_what_was_measured_on_what_and_keeps_the_samples(model: Model) -> None:
    seen: list[str] = []
    result = bench(model, duration_s=0.2, size=(320, 240), fps=20, threads=1, progress=seen.append)
    assert seen == ["tile", "frame", "stream"]
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["model"]["sha256"] == model.sha256
    assert (result["plan"]["engine"], result["plan"]["threads"]) == ("dense", 1)
    assert result["input"] == {"width": 320, "height": 240, "pictures": 8, "source": "scene"}
    for one in result["scenarios"].values():
        assert one["ms"] == spread(one["samples_ms"])
        assert one["ms"]["n"] >= 3
        assert one["warmup"]["calls"] >= 5
        assert all(len(values) == one["ms"]["n"] for values in one["stage_samples_ms"].values())
        assert set(one["stages_ms"]) >= {"invoke"} or one["what"].startswith("one call")
    frame = result["scenarios"]["frame"]
    assert sum(figures["mean"] for figures in frame["stages_ms"].values()) <= frame["ms"]["mean"]
    stream = result["scenarios"]["stream"]
    assert stream["captured"] == 4
    assert stream["dropped"] == 4 - stream["ms"]["n"]
    text = format_bench(result)
    assert "p50" in text
    assert "p99" in text
    assert result["machine"]["fingerprint"] in text


def test_a_bench_on_given_frames_and_another_engine(model: Model) -> None:
    frames = scene_frames(width=100, height=150, count=1)
    result = bench(model, scenarios=["frame"], duration_s=0.01, engine="tiles", stride=64, frames=frames)
    assert list(result["scenarios"]) == ["frame"]
    assert (result["plan"]["engine"], result["plan"]["stride"]) == ("tiles", 64)
    assert result["input"] == {"width": 100, "height": 150, "pictures": 1, "source": "given"}


def test_unusable_options_are_refused_before_anything_is_measured(model: Model) -> None:
    with pytest.raises(OptionError, match="scenario orbit: expected some of tile, frame, stream"):
        bench(model, scenarios=["orbit"])
    with pytest.raises(OptionError, match="scenario none"):
        bench(model, scenarios=[])
    for duration in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(OptionError, match="duration"):
            bench(model, duration_s=duration)
    with pytest.raises(OptionError, match="fps 0"):
        bench(model, fps=0)
    with pytest.raises(OptionError, match="0 frames"):
        bench(model, frames=[])
