from __future__ import annotations

import json
from typing import Any

import pytest

from crackedge.benchmarks.bench_page import _sustained_plots
from crackedge.benchmarks.machine import NOT_MEASURED
from crackedge.benchmarks.sustained import format_sustained, sustain
from crackedge.edge_runtime.errors import OptionError


class Board:
    """A board that slows down once it is warm. Its time passes only while it works."""

    def __init__(self) -> None:
        self.now = 50.0

    def clock(self) -> float:
        return self.now

    def scan(self, number: int) -> None:
        self.now += 0.05 if self.now < 50 + 300 else 0.10

    def state(self) -> dict[str, Any]:
        warm = self.now >= 50 + 300
        return {
            "temperature_c": 80.0 if warm else 60.0,
            "clock_mhz": 1200.0 if warm else 2400.0,
            "throttling": {"now": ["throttled"] if warm else [], "since_start": [], "events": None},
        }


def test_a_board_that_becomes_too_warm_is_seen_to_slow_down() -> None:
    board = Board()
    found = sustain(board.scan, duration_s=600, clock=board.clock, state=board.state)
    assert json.loads(json.dumps(found)) == found
    assert found["parts"][0]["calls_per_s"] == pytest.approx(20, rel=0.02)
    assert found["parts"][-1]["calls_per_s"] == pytest.approx(10, rel=0.02)
    assert found["kept"] == pytest.approx(0.5, rel=0.02)
    assert 100 <= len(found["parts"]) <= 130
    assert found["calls"] == pytest.approx(300 / 0.05 + 300 / 0.1, rel=0.02)
    text = format_sustained(found)
    assert "keeps 50% of its pace" in text
    assert "temperature 60 to 80 °C" in text
    assert "throttling from 30" in text
    assert len(_sustained_plots(found)) == 3


def test_a_board_without_sensors_says_so() -> None:
    board = Board()
    nothing = dict.fromkeys(("temperature_c", "clock_mhz", "throttling"), NOT_MEASURED)
    found = sustain(board.scan, duration_s=10, clock=board.clock, state=lambda: nothing)
    text = format_sustained(found)
    assert "temperature not measured, throttling not measured" in text
    assert len(_sustained_plots(found)) == 1


def test_calls_longer_than_the_time_give_one_part() -> None:
    board = Board()
    found = sustain(board.scan, duration_s=0.02, clock=board.clock, state=board.state)
    assert len(found["parts"]) == 1
    assert found["kept"] == 1
    assert _sustained_plots(found)[0].count("<circle") == 1


@pytest.mark.parametrize("duration_s", [0.0, -1.0, float("nan")])
def test_no_time_is_refused(duration_s: float) -> None:
    with pytest.raises(OptionError, match="duration"):
        sustain(lambda _: None, duration_s=duration_s)
