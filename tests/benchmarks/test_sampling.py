from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackedge.benchmarks.sampling import Capture, captured, newest_captures, sample
from crackedge.edge_runtime.errors import OptionError


@dataclass
class Time:
    """A clock that moves only when somebody works or sleeps."""

    now: float = 100.0

    def clock(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


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
    assert got.calls == len(called)


def test_slow_calls_are_sampled_three_times_at_least_and_keep_their_stages() -> None:
    time = Time()

    def call(number: int) -> dict[str, float]:
        time.pass_by(30.0)
        return {"total": 5.0 + number, "invoke": 2.0}

    got = sample(call, duration_s=1.0, warmup_calls=1, warmup_s=0, clock=time.clock)
    assert got.total_ms == (6.0, 7.0, 8.0)  # what the call says of itself counts
    assert got.stages_ms == ({"invoke": 2.0},) * 3


def watch(time: Time, work_s: list[float], *, fps: float, duration_s: float) -> tuple[list[Capture], list[float]]:
    """What somebody sees who works so long on each frame in turn, and how old each was when he took it."""
    seen, ages = [], []
    for capture in newest_captures(fps=fps, duration_s=duration_s, clock=time.clock, sleep=time.pass_by):
        seen.append(capture)
        ages.append(time.now - capture.captured_s)
        time.pass_by(work_s[(len(seen) - 1) % len(work_s)])
    return seen, ages


def test_work_faster_than_the_camera_drops_nothing() -> None:
    seen, ages = watch(Time(), [0.010], fps=25, duration_s=2)
    assert [capture.number for capture in seen] == list(range(50))
    assert ages == pytest.approx([0.0] * 50, abs=1e-6)


def test_work_slower_than_the_camera_drops_frames_and_stays_young() -> None:
    seen, ages = watch(Time(), [0.070], fps=25, duration_s=4)
    assert [capture.number for capture in seen[:4]] == [0, 1, 3, 5]  # at 70, 140, 210 ms those of 40, 120, 200 ms
    assert ages[:3] == pytest.approx([0.0, 0.030, 0.020], abs=1e-6)
    assert len(seen) == pytest.approx(4 / 0.070, abs=1.5)


@given(st.floats(1, 240), st.floats(0.05, 3), st.lists(st.floats(0.0005, 0.4), min_size=1, max_size=20))
@settings(max_examples=80)
def test_the_newest_frame_is_never_older_than_the_cameras_pace(
    fps: float, duration_s: float, work_s: list[float]
) -> None:
    seen, ages = watch(Time(), work_s, fps=fps, duration_s=duration_s)
    numbers = [capture.number for capture in seen]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == captured(fps=fps, duration_s=duration_s) - 1  # the last frame is the newest for ever
    assert all(-1e-6 <= age <= 1 / fps + 1e-6 for age in ages[:-1])


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_what_takes_no_time_is_refused(value: float) -> None:
    with pytest.raises(OptionError, match="duration"):
        sample(lambda _: None, duration_s=value)
    with pytest.raises(OptionError, match="fps"):
        captured(fps=value, duration_s=1)
    with pytest.raises(OptionError, match="duration"):
        captured(fps=1, duration_s=value)
