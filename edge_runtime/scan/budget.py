"""The budget: how much of a frame can be scanned in the time there is, and which part of it. Pure; no clock in here.

A frame that does not fit is cut into horizontal *bands*, one scanned each time. Rotation is earliest deadline first
(Liu and Layland 1973) over bands of one cost, which keeps every deadline that can be kept; where the deadlines leave a
frame free, the band goes first that waits longest, changed and uncertain ones counting several times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.scan.coverage import GiveUp
from crackedge.edge_runtime.scan.passes import scanned_cells

REFRESH_S = 2.0

_SAMPLES = 40  # frames that costs are estimated from
_QUANTILE = 0.95
_RESERVE = 1.05  # what is said to cost so much is taken to cost a little more
_EARLY = 0.85  # of the time allowed: from here on marking is given up, before the scan is
_CALM_FRAMES = 30  # before something that was given up is taken back
_CALM = 1.25  # how much more costly frames might become then without giving it up again
_LEAST_BAND = 2  # rows of cells
_URGENT = 4.0  # times that a changed or uncertain band counts


@dataclass(frozen=True, slots=True)
class Budget:
    """What was promised.

    Attributes:
        latency_ms: from a frame's capture to its result; None for no such promise.
        fps: frames a second that get a result; None for no such promise.
    """

    latency_ms: float | None = None
    fps: float | None = None

    @property
    def frame_ms(self) -> float:
        """Milliseconds that a frame may take."""
        return min(self.latency_ms or math.inf, 1e3 / self.fps if self.fps else math.inf)


def make_budget(*, max_latency_ms: float | None, target_fps: float | None, refresh_s: float) -> Budget | None:
    """What was promised; None where only to refresh.

    Raises:
        OptionError: a value is not positive.
    """
    for name, value in (("max_latency_ms", max_latency_ms), ("target_fps", target_fps), ("refresh_s", refresh_s)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise OptionError(f"{name} {value:g}: expected a number above 0")
    if max_latency_ms is None and target_fps is None:
        return None
    return Budget(max_latency_ms, target_fps)


@dataclass(frozen=True, slots=True)
class Costs:
    """What frames took lately: a running estimate, on the safe side.

    Attributes:
        rates_ms: milliseconds per cell that went through the network, of the last frames.
        others_ms: milliseconds of everything else in these frames, and what they had waited before.
    """

    rates_ms: tuple[float, ...] = ()
    others_ms: tuple[float, ...] = ()

    def observed(self, *, cells: int, scan_ms: float, other_ms: float) -> Costs:
        """With one more frame."""
        rates = (*self.rates_ms, scan_ms / cells)[-_SAMPLES:] if cells else self.rates_ms
        return Costs(rates, (*self.others_ms, other_ms)[-_SAMPLES:])

    def frame_ms(self, cells: int) -> float:
        """What a frame will hardly exceed if so many cells go through the network; 0 while nothing is known."""
        return _RESERVE * (quantile(self.rates_ms) * cells + quantile(self.others_ms))


@dataclass(frozen=True, slots=True)
class Level:
    """How frames are scanned for the time being.

    Attributes:
        bands: into how many bands a frame is cut; 1 is no band at all.
        halved: whether it is scanned at half its scale.
        give_up: what is given up.
        calm: for how many frames less would have had to be given up.
    """

    bands: int = 1
    halved: bool = False
    give_up: GiveUp = GiveUp.NOTHING
    calm: int = 0


def quantile(samples: Sequence[float], share: float = _QUANTILE) -> float:
    """The smallest sample that at least this share of all do not exceed; 0 of none."""
    return sorted(samples)[max(0, math.ceil(share * len(samples) - 1e-9) - 1)] if samples else 0.0


def band_rows(bands: int, rows: int) -> list[tuple[int, int]]:
    """First row and end of each band: all of one height, the last ones overlapping where it does not come out even."""
    height = -(-rows // bands)
    starts = sorted({min(number * height, rows - height) for number in range(bands)})
    return [(start, start + height) for start in starts]


def next_level(
    level: Level, costs: Costs, *, allowed_ms: float, cells_hw: tuple[int, int], period_s: float, refresh_s: float
) -> Level:
    """How the next frame is to be scanned, after this level.

    More is given up at once, and taken back step by step after a while of calm.

    Args:
        level: of the frame before.
        costs: so far.
        allowed_ms: for the frame.
        cells_hw: rows and columns of its cells.
        period_s: from one frame to the next.
        refresh_s: how long no cell stays unseen.
    """
    needed = _needed(costs, allowed_ms, cells_hw, period_s, refresh_s)
    if _rank(needed) >= _rank(level):
        return needed
    spare = _needed(costs, allowed_ms / _CALM, cells_hw, period_s, refresh_s)
    if _rank(spare) >= _rank(level):
        return replace(level, calm=0)
    if level.calm + 1 < _CALM_FRAMES:
        return replace(level, calm=level.calm + 1)
    if spare.give_up == GiveUp.NOTHING and level.give_up > GiveUp.MARKING:  # what was given up first comes back last
        return Level(give_up=GiveUp.MARKING)
    return spare


def choose_bands(
    looked_s: npt.NDArray[np.float64],
    urgent: npt.NDArray[np.bool_],
    *,
    bands: int,
    now_s: float,
    period_s: float,
    refresh_s: float,
) -> list[tuple[int, int]]:
    """The rows to scan in this frame: one band, or as many as it takes that no row waits longer than it may.

    Args:
        looked_s: (rows,) when the oldest cell of each row was last looked at.
        urgent: (rows,) whether a cell of the row changed, is uncertain, or was never looked at.
        bands: into how many the rows are cut.
        now_s: when this frame was taken.
        period_s: from one frame to the next.
        refresh_s: how long no cell stays unseen.

    Returns:
        First row and end of each band, in order; bands that touch are one.
    """
    cut = band_rows(bands, len(looked_s))
    oldest = np.array([looked_s[start:end].min() for start, end in cut])
    frames_left = np.floor((oldest + refresh_s - now_s) / period_s + 1e-6).astype(int)  # besides this one
    order = np.argsort(oldest, kind="stable")
    waiting = np.arange(1, len(cut) + 1)
    slots = np.maximum(frames_left[order] + 1, 1)
    at_once = int(max(1, np.ceil(waiting / slots).max()))
    if at_once == 1 and (waiting <= frames_left[order]).all():  # this frame is free
        weight = np.where([urgent[start:end].any() for start, end in cut], _URGENT, 1.0)
        order = np.argsort(-(now_s - oldest + period_s) * weight, kind="stable")
    chosen = sorted(cut[number] for number in order[:at_once])
    joined: list[tuple[int, int]] = []
    for start, end in chosen:
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def _needed(costs: Costs, allowed_ms: float, cells_hw: tuple[int, int], period_s: float, refresh_s: float) -> Level:
    """The least that has to be given up."""
    most = max(1, math.floor(refresh_s / period_s + 1e-6))  # bands that come round in time
    whole_ms = costs.frame_ms(scanned_cells((0, 0, *cells_hw), cells_hw))
    if whole_ms <= allowed_ms:
        return Level(give_up=GiveUp.MARKING if whole_ms > _EARLY * allowed_ms else GiveUp.NOTHING)
    for halved in (False, True):
        rows_cols = half_hw(cells_hw) if halved else cells_hw
        for bands in range(1 if halved else 2, min(most, max(1, rows_cols[0] // _LEAST_BAND)) + 1):
            if costs.frame_ms(_band_cells(bands, rows_cols)) <= allowed_ms:
                return Level(bands, halved, GiveUp.SCALE if halved else GiveUp.BANDS)
    return Level(min(most, max(1, half_hw(cells_hw)[0] // _LEAST_BAND)), True, GiveUp.LATENCY)


def half_hw(cells_hw: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of cells at half the scale that show something of the frame."""
    return -(-cells_hw[0] // 2), -(-cells_hw[1] // 2)


def _band_cells(bands: int, cells_hw: tuple[int, int]) -> int:
    """Cells through the network for the dearest band."""
    rows, cols = cells_hw
    return max(scanned_cells((start, 0, end, cols), cells_hw) for start, end in band_rows(bands, rows))


def _rank(level: Level) -> tuple[int, int]:
    return level.give_up, level.bands if not level.halved or level.give_up != GiveUp.LATENCY else -level.bands
