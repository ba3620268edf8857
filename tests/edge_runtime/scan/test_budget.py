"""The control logic on simulated machines: no clock, no network, every cost known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.scan.budget import (
    Budget,
    Costs,
    Level,
    band_rows,
    choose_bands,
    half_hw,
    make_budget,
    next_level,
    quantile,
)
from crackedge.edge_runtime.scan.coverage import GiveUp
from crackedge.edge_runtime.scan.passes import scanned_cells

CELLS_HW = (34, 60)
WHOLE = 34 * 60


@dataclass
class Machine:
    """A machine whose scans take ``rate`` milliseconds a cell and 5 ms a frame, behind a camera of 30 a second."""

    allowed_ms: float
    refresh_s: float = 2.0
    level: Level = field(default_factory=Level)
    costs: Costs = field(default_factory=Costs)
    now_s: float = 0.0
    looked_s: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(CELLS_HW[0]))
    latencies_ms: list[float] = field(default_factory=list)
    oldest_s: list[float] = field(default_factory=list)
    levels: list[Level] = field(default_factory=list)
    periods_s: list[float] = field(default_factory=lambda: [1 / 30] * 19)

    @property
    def period_s(self) -> float:
        return quantile(self.periods_s[-19:], 0.9)

    def frame(self, rate: float, urgent: npt.NDArray[np.bool_] | None = None) -> None:
        self.level = next_level(
            self.level,
            self.costs,
            allowed_ms=self.allowed_ms,
            cells_hw=CELLS_HW,
            period_s=self.period_s,
            refresh_s=self.refresh_s,
        )
        scale = 2 if self.level.halved else 1
        cells_hw = half_hw(CELLS_HW) if self.level.halved else CELLS_HW
        looked_s = np.minimum.reduceat(self.looked_s, range(0, CELLS_HW[0], scale))
        chosen = [(0, cells_hw[0])]
        if self.level.bands > 1:
            chosen = choose_bands(
                looked_s,
                np.zeros(len(looked_s), bool) if urgent is None else urgent[::scale],
                bands=self.level.bands,
                now_s=self.now_s,
                period_s=self.period_s,
                refresh_s=self.refresh_s,
            )
        for start, end in chosen:
            self.looked_s[start * scale : end * scale] = self.now_s
        cells = sum(scanned_cells((start, 0, end, cells_hw[1]), cells_hw) for start, end in chosen)
        spent_ms = rate * cells + 5.0
        self.costs = self.costs.observed(cells=cells, scan_ms=rate * cells, other_ms=5.0)
        self.latencies_ms.append(spent_ms)
        self.oldest_s.append(self.now_s - float(self.looked_s.min()))
        self.levels.append(self.level)
        self.periods_s.append(max(1 / 30, spent_ms / 1e3))
        self.now_s += self.periods_s[-1]

    def run(self, frames: int, rate: Callable[[int], float]) -> None:
        for number in range(frames):
            self.frame(rate(number))


@settings(max_examples=40)
@given(st.floats(0.01, 0.4), st.floats(30, 400), st.floats(0.5, 4.0))
def test_the_budget_and_the_refresh_hold_wherever_both_can(rate: float, allowed_ms: float, refresh_s: float) -> None:
    machine = Machine(allowed_ms, refresh_s)
    machine.run(150, lambda _: rate)
    settled = slice(20, None)
    if all(level.give_up < GiveUp.LATENCY for level in machine.levels[settled]):
        assert quantile(machine.latencies_ms[settled]) <= allowed_ms
    assert max(machine.oldest_s[settled]) <= refresh_s + 1e-6 or machine.level.give_up == GiveUp.LATENCY
    slowest_s = max(machine.latencies_ms[settled]) / 1e3
    assert max(machine.oldest_s[settled]) <= max(refresh_s, 2 * slowest_s) + 1e-6


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_with_noise_in_the_costs_19_of_20_frames_are_in_time(seed: int) -> None:
    noise = np.random.default_rng(seed).lognormal(0, 0.15, 400)
    machine = Machine(allowed_ms=120.0)
    machine.run(400, lambda number: 0.08 * float(noise[number]))
    assert quantile(machine.latencies_ms[40:]) <= 120.0
    assert max(machine.oldest_s[40:]) <= 2.0


def test_what_is_given_up_comes_in_order_and_comes_back() -> None:
    machine = Machine(allowed_ms=200.0)
    machine.run(5, lambda _: 0.05)
    assert replace(machine.level, calm=0) == Level()
    machine.run(5, lambda _: 0.09)
    assert replace(machine.level, calm=0) == Level(give_up=GiveUp.MARKING)
    machine.run(5, lambda _: 0.2)
    assert replace(machine.level, calm=0) == Level(machine.level.bands, give_up=GiveUp.BANDS)
    assert machine.level.bands > 1
    machine.run(60, lambda _: 0.45)
    assert replace(machine.level, calm=0) == Level(machine.level.bands, halved=True, give_up=GiveUp.SCALE)
    machine.run(60, lambda _: 6.0)
    assert replace(machine.level, calm=0) == Level(machine.level.bands, halved=True, give_up=GiveUp.LATENCY)
    machine.run(600, lambda _: 0.02)
    assert machine.level == Level()
    seen = [level.give_up for level in machine.levels]
    assert GiveUp.MARKING in seen[seen.index(GiveUp.LATENCY) :]  # the last that comes back


def test_one_outlier_in_forty_gives_nothing_up() -> None:
    costs = Costs()
    for number in range(40):
        costs = costs.observed(cells=WHOLE, scan_ms=WHOLE * (0.01 if number != 20 else 1.0), other_ms=2.0)
    where = {"allowed_ms": 100.0, "cells_hw": CELLS_HW, "period_s": 1 / 30, "refresh_s": 2.0}
    assert next_level(Level(), costs, **where).give_up == GiveUp.NOTHING  # type: ignore[arg-type]


@given(st.integers(1, 40), st.integers(1, 60))
def test_bands_cover_all_rows_and_are_of_one_height(bands: int, rows: int) -> None:
    cut = band_rows(bands, rows)
    assert sorted({row for start, end in cut for row in range(start, end)}) == list(range(rows))
    assert len({end - start for start, end in cut}) == 1
    assert len(cut) <= bands


def test_urgent_bands_come_first_while_the_others_still_have_time() -> None:
    looked_s, urgent = np.zeros(12), np.zeros(12, bool)
    urgent[7] = True
    counts = np.zeros(12, int)
    for number in range(60):
        now_s = number / 30
        for start, end in choose_bands(looked_s, urgent, bands=4, now_s=now_s, period_s=1 / 30, refresh_s=0.5):
            looked_s[start:end] = now_s
            counts[start:end] += 1
        assert now_s - looked_s.min() <= 0.5
    assert counts[7] > 1.5 * counts[0]
    assert counts.min() >= 3


def test_overdue_bands_are_scanned_at_once_and_join() -> None:
    late = choose_bands(np.zeros(12), np.zeros(12, bool), bands=4, now_s=9.0, period_s=0.1, refresh_s=0.5)
    assert late == [(0, 12)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_latency_ms": 0.0}, "max_latency_ms 0: expected a number above 0"),
        ({"target_fps": -5.0}, "target_fps -5"),
        ({"refresh_s": float("nan")}, "refresh_s nan"),
        ({"max_latency_ms": float("inf")}, "max_latency_ms inf"),
    ],
)
def test_promises_that_cannot_be_kept_are_refused(options: dict[str, float], message: str) -> None:
    given_options = {"max_latency_ms": None, "target_fps": None, "refresh_s": 2.0, **options}
    with pytest.raises(OptionError, match=message):
        make_budget(**given_options)  # type: ignore[arg-type]


def test_the_tighter_promise_counts() -> None:
    assert make_budget(max_latency_ms=None, target_fps=None, refresh_s=2.0) is None
    assert Budget(latency_ms=200.0).frame_ms == 200.0
    assert Budget(latency_ms=200.0, fps=10.0).frame_ms == 100.0
    assert Budget(latency_ms=50.0, fps=10.0).frame_ms == 50.0
