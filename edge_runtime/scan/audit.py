"""The audit of carried cells: what a full scan finds that the carried map had lost, and how far its scores were off.

The scan of a frame is not repeatable to begin with: the same wall with another grain of sensor noise moves faint
cracks over their thresholds and back. What is carried therefore has a *doubt*, and a carried cell or window counts as
cracked from so far below its threshold. Each audit asks what every degree of doubt would have lost and added; the least
that loses no more than is allowed is taken, or a smaller one, where what it loses is little beside what more would add.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.models.card import Calibration, OperatingPoint
from crackedge.edge_runtime.scan.carry import log_odds
from crackedge.edge_runtime.scan.regions import cracked_cells
from crackedge.edge_runtime.scan.scoremap import ScoreMap

ALLOWED_LOSS = 0.008  # of the cracked cells, so that 1 % is kept to
ADDED_PER_LOST = 100.0  # cells marked with no crack beside them, for one that is not lost: more is not worth it
MOST_LOSS = 0.08  # above it, carrying is not worth its savings

_NEIGHBOURS = np.ones((3, 3), np.uint8)
_MEMORY, _ERROR_MEMORY = 0.97, 0.85  # weight of what was known before an audit
_FACTORS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0)
_NOTHING = (0.0,) * len(_FACTORS)
# With each factor; four flights and two videos lose less.
_USUAL_LOSS = (0.035, 0.026, 0.020, 0.014, 0.011, 0.009, 0.006, 0.004, 0.002, 0.001)
_USUAL_CELLS = 100.0  # cracked cells that a run begins with, so to speak
_JUDGED_AUDITS = 4.0  # that found cracks, from which on a share means something


@dataclass(frozen=True, slots=True)
class Doubt:
    """How unsure carried scores are. Figures fade with each audit.

    Attributes:
        window_error: spread of carried windows around those of a scan, in calibrated log-odds.
        cell_error: the same for cells.
        audits: how many found cracks.
        cracked: cracked cells that they found.
        lost: how many of them the carried map had lost.
        lost_with: how many of them it would have lost, with each factor of ``_FACTORS``.
        added_with: how many cells without a crack beside them it would have marked.
    """

    window_error: float = 0.5
    cell_error: float = 0.8
    audits: float = 0.0
    cracked: float = 0.0
    lost: float = 0.0
    lost_with: tuple[float, ...] = _NOTHING
    added_with: tuple[float, ...] = _NOTHING

    @property
    def factor(self) -> float:
        """How many spreads of the error below its threshold something carried is cracked."""
        allowed = ALLOWED_LOSS * (self.cracked + _USUAL_CELLS)
        lost = [more + usual * _USUAL_CELLS for more, usual in zip(self.lost_with, _USUAL_LOSS, strict=True)]
        enough = next((number for number, cells in enumerate(lost) if cells <= allowed), len(lost) - 1)
        return _FACTORS[min(range(enough + 1), key=lambda n: ADDED_PER_LOST * lost[n] + self.added_with[n])]

    @property
    def loss(self) -> float | None:
        """Share of cracked cells lost; None while nothing cracked has been audited."""
        return self.lost / self.cracked if self.cracked else None

    @property
    def hopeless(self) -> bool:
        """Whether all doubt that is worth it loses so much that frames had better be scanned."""
        lost = self.lost_with[_FACTORS.index(self.factor)]
        return self.audits >= _JUDGED_AUDITS and lost > MOST_LOSS * self.cracked


def lowered(point: OperatingPoint, doubt: Doubt, *, factor: float | None = None) -> OperatingPoint:
    """The thresholds for what is carried; with another factor than the doubt's, where one is given."""
    by = doubt.factor if factor is None else factor
    return OperatingPoint(
        window_threshold=_probability(log_odds(point.window_threshold) - by * doubt.window_error),
        cell_threshold=_probability(log_odds(point.cell_threshold) - by * doubt.cell_error),
    )


def lost_cells(full: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> int:
    """How many cracked cells of a full scan have none in the other map within one cell, corners included."""
    near = cv2.dilate(other.view(np.uint8), _NEIGHBOURS).view(bool)
    return int((full & ~near).sum())


def audited(
    doubt: Doubt,
    *,
    expected: ScoreMap,
    found: ScoreMap,
    where: npt.NDArray[np.bool_],
    point: OperatingPoint,
    calibration: Calibration,
    frame_hw: tuple[int, int],
) -> Doubt:
    """What is to be thought after a scan of cells that had been carried.

    Args:
        doubt: so far.
        expected: the carried map.
        found: the same with what was scanned.
        where: (rows, cols) the carried cells that were scanned, most of the frame or most of a band.
        point: thresholds of a scan.
        calibration: of the engine.
        frame_hw: of the frame in pixels.
    """
    windows = (
        lattice.window_means(where.astype(np.float32))[np.ix_(found.ys // lattice.CELL, found.xs // lattice.CELL)] == 1
    )
    if not windows.any():  # too little was scanned to learn from it
        return doubt
    window_error = calibration.scale * float((expected.window_logits - found.window_logits)[windows].std())
    cell_error = calibration.cell_scale * float((expected.cell_logits - found.cell_logits)[where].std())
    full = cracked_cells(found, point, frame_hw=frame_hw)
    learnt = replace(
        doubt,
        window_error=_ERROR_MEMORY * doubt.window_error + (1 - _ERROR_MEMORY) * window_error,
        cell_error=_ERROR_MEMORY * doubt.cell_error + (1 - _ERROR_MEMORY) * cell_error,
    )
    cracked = int((full & where).sum())
    if not cracked:
        return learnt

    points = (lowered(point, doubt, factor=factor) for factor in _FACTORS)
    maps = [cracked_cells(expected, low, frame_hw=frame_hw) for low in points]
    lost = [lost_cells(full & where, carried) for carried in maps]
    return replace(
        learnt,
        audits=_MEMORY * doubt.audits + 1,
        cracked=_MEMORY * doubt.cracked + cracked,
        lost=_MEMORY * doubt.lost + lost[_FACTORS.index(doubt.factor)],
        lost_with=_faded(doubt.lost_with, lost),
        added_with=_faded(doubt.added_with, [lost_cells(carried & where, full) for carried in maps]),
    )


def _faded(before: tuple[float, ...], more: Iterable[int]) -> tuple[float, ...]:
    return tuple(_MEMORY * old + new for old, new in zip(before, more, strict=True))


def _probability(odds: float) -> float:
    return float(1 / (1 + np.exp(-odds)))
