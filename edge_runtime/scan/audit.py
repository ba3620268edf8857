"""The audit of carried cells: what a full scan finds that the carried map had lost, and how far its scores were off.

The scan of a frame is not repeatable to begin with: the same wall with another grain of sensor noise moves faint
cracks over their thresholds and back. What is carried therefore has a *doubt*, and a carried cell or window counts as
cracked from so far below its threshold. The audit sets the doubt so that the measured loss stays at what is allowed.
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
from crackedge.edge_runtime.scan.regions import Region, find_regions
from crackedge.edge_runtime.scan.scoremap import ScoreMap

ALLOWED_LOSS = 0.01  # of the cracked cells
MOST_LOSS = 0.08  # above it, carrying is not worth its savings

_NEIGHBOURS = np.ones((3, 3), np.uint8)
_MEMORY = 0.85  # weight of what was known before an audit
_GAIN = 15.0  # how fast the doubt follows the loss
_MOST_FACTOR = 5.0
_JUDGED_AUDITS = 4.0  # that found cracks, from which on a share means something; they fade, so that there are 6 at most


@dataclass(frozen=True, slots=True)
class Doubt:
    """How unsure carried scores are. Figures fade with each audit.

    Attributes:
        window_error: spread of carried windows around those of a scan, in calibrated log-odds.
        cell_error: the same for cells.
        factor: how many such spreads below its threshold something carried is cracked.
        audits: how many found cracks.
        cracked: cracked cells that they found.
        lost: how many of them the carried map had lost.
    """

    window_error: float = 0.5
    cell_error: float = 0.8
    factor: float = 3.0
    audits: float = 0.0
    cracked: float = 0.0
    lost: float = 0.0

    @property
    def loss(self) -> float | None:
        """Share of cracked cells lost; None while nothing cracked has been audited."""
        return self.lost / self.cracked if self.cracked else None

    @property
    def hopeless(self) -> bool:
        """Whether even the greatest doubt loses so much that frames had better be scanned."""
        judged = self.audits >= _JUDGED_AUDITS and self.factor == _MOST_FACTOR
        return judged and self.lost > MOST_LOSS * self.cracked


def lowered(point: OperatingPoint, doubt: Doubt) -> OperatingPoint:
    """The thresholds for what is carried."""
    return OperatingPoint(
        window_threshold=_probability(log_odds(point.window_threshold) - doubt.factor * doubt.window_error),
        cell_threshold=_probability(log_odds(point.cell_threshold) - doubt.factor * doubt.cell_error),
    )


def region_cells(regions: Iterable[Region], cells_hw: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """(rows, cols): the cells of crack regions."""
    cracked = np.zeros(cells_hw, bool)
    for region in regions:
        cracked[tuple(np.transpose(region.cells))] = True
    return cracked


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
    full = region_cells(find_regions(found, point, frame_hw=frame_hw), where.shape) & where
    carried = region_cells(find_regions(expected, lowered(point, doubt), frame_hw=frame_hw), where.shape)
    lost, cracked = lost_cells(full, carried), int(full.sum())
    factor = doubt.factor
    if cracked:
        factor = min(max(0.0, factor + _GAIN * (lost / cracked - ALLOWED_LOSS)), _MOST_FACTOR)
    return replace(
        doubt,
        window_error=_MEMORY * doubt.window_error + (1 - _MEMORY) * window_error,
        cell_error=_MEMORY * doubt.cell_error + (1 - _MEMORY) * cell_error,
        factor=factor,
        audits=_MEMORY * doubt.audits + 1 if cracked else doubt.audits,
        cracked=_MEMORY * doubt.cracked + cracked if cracked else doubt.cracked,
        lost=_MEMORY * doubt.lost + lost if cracked else doubt.lost,
    )


def _probability(odds: float) -> float:
    return float(1 / (1 + np.exp(-odds)))
