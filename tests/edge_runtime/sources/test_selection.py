"""Which frames are given, by number and time."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackedge.edge_runtime.sources.selection import Selection

RATES = st.sampled_from([1.0, 10.0, 24000 / 1001, 25.0, 30000 / 1001, 60.0])


def chosen(selection: Selection, times_s: list[float]) -> list[int]:
    return [index for index, _, _ in selection.of((index, time_s, None) for index, time_s in enumerate(times_s))]


@given(st.integers(0, 200), RATES, st.floats(0, 20), st.floats(0.01, 20), st.integers(1, 7))
def test_the_rule(frames: int, fps: float, start_s: float, length_s: float, every: int) -> None:
    end_s = start_s + length_s
    times_s = [index / fps for index in range(frames)]
    within = [index for index, time_s in enumerate(times_s) if start_s - 5e-4 <= time_s <= end_s - 5e-4]
    selection = Selection(start_s=start_s, end_s=end_s, every=every)
    assert chosen(selection, times_s) == within[::every]
    assert selection.count(frames, fps=fps) == pytest.approx(len(within[::every]), abs=1)


@given(RATES, st.floats(0.02, 3), st.floats(0, 5))
def test_seconds_are_kept_on_average_whatever_the_rate(fps: float, every_s: float, start_s: float) -> None:
    times_s = [index / fps for index in range(round(30 * fps))]
    selection = Selection(every_s=every_s, start_s=start_s)
    given_s = [times_s[index] for index in chosen(selection, times_s)]
    lasting_s = times_s[-1] - given_s[0]
    assert len(given_s) == pytest.approx(lasting_s / max(every_s, 1 / fps), rel=0.05, abs=2)
    assert all(later - earlier > every_s - 1 / fps - 1e-3 for earlier, later in itertools.pairwise(given_s))


@given(st.lists(st.floats(0.01, 2), min_size=1, max_size=50), st.floats(0.05, 3))
def test_irregular_times(steps_s: list[float], every_s: float) -> None:
    times_s = [sum(steps_s[:index]) for index in range(len(steps_s) + 1)]
    slots = [int((times_s[index] + 5e-4) / every_s) for index in chosen(Selection(every_s=every_s), times_s)]
    assert slots == sorted(set(slots)), "one in each slot of the schedule"


def test_neighbouring_stretches_share_no_frame_and_lose_none() -> None:
    times_s = [round(index / 30, 3) for index in range(90)]  # as Matroska rounds them
    first, second = Selection(end_s=1.0), Selection(start_s=1.0)
    assert chosen(first, times_s) + chosen(second, times_s) == list(range(90))


def test_nothing_is_read_after_the_end() -> None:
    read = []

    def candidates() -> object:
        for index in range(100):
            read.append(index)
            yield index, index / 10, None

    assert len(list(Selection(end_s=1.0).of(candidates()))) == 10  # type: ignore[arg-type]
    assert read[-1] == 10


def test_what_is_not_known_is_not_estimated() -> None:
    assert Selection(every=3).count(None, fps=25.0) is None
    assert Selection(every=3).count(10, fps=None) == 4
    assert Selection(start_s=8.0).count(100, fps=10.0) == 20
    assert Selection(start_s=80.0).count(100, fps=10.0) == 0


@pytest.mark.parametrize(
    ("selection", "rate"), [(Selection(), 30.0), (Selection(every=5), 6.0), (Selection(every_s=0.5), 2.0)]
)
def test_the_rate_of_what_is_left(selection: Selection, rate: float) -> None:
    assert selection.rate(30.0) == pytest.approx(rate)
    assert selection.rate(None) is None
