"""The carried map: the logits of cells that were scanned in earlier frames, laid where the camera sees them now."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.lattice import CELL, CellBox
from crackedge.edge_runtime.scan.motion import Matrix

UNKNOWN_LOGIT = np.float32(-30.0)  # of a cell that nobody has looked at: no window near it becomes cracked by it


@dataclass(frozen=True, slots=True, eq=False)
class CarriedMap:
    """What is known of the cells of one frame, (rows, cols) each.

    Attributes:
        logits: float32; :data:`UNKNOWN_LOGIT` where nobody has looked yet.
        known: bool, whether the network has looked at the cell since it came into view.
        moved: bool, whether the picture has moved since; the logits are then those of a shifted cell.
        looked_s: float64, when it did last; of the others, when they came into view, or, where the picture could not be
            followed, when it last looked at this place in the frame. Positions in the source.
    """

    logits: npt.NDArray[np.float32]
    known: npt.NDArray[np.bool_]
    moved: npt.NDArray[np.bool_]
    looked_s: npt.NDArray[np.float64]

    def stale_s(self, now_s: float) -> float:
        """Age of the cell that nobody has looked at for longest."""
        return max(0.0, now_s - float(self.looked_s.min()))


def blank(cells_hw: tuple[int, int], now_s: float) -> CarriedMap:
    """The map of a frame of which nothing is known."""
    nowhere = np.zeros(cells_hw, bool)
    return CarriedMap(np.full(cells_hw, UNKNOWN_LOGIT, np.float32), nowhere, nowhere, np.full(cells_hw, float(now_s)))


def carried(earlier: CarriedMap, matrix: Matrix, now_s: float, *, frame_hw: tuple[int, int]) -> CarriedMap:
    """The map of a later frame: logits resampled bilinearly, the rest from the nearest cell.

    Cells that show more than half a cell of what was outside the earlier frame are not known; their logits continue
    those of the border, so that windows which reach over it have something to go by.

    Args:
        earlier: of the earlier frame.
        matrix: (2, 3), pixels of the earlier frame to those of the later one.
        now_s: position of the later frame.
        frame_hw: of both frames in pixels, without padding.
    """
    rows, cols = earlier.logits.shape
    height, width = frame_hw
    inverse = np.linalg.inv(np.vstack([matrix, (0.0, 0.0, 1.0)]))[:2]
    seen_from = _grid(_middles(cols, width), _middles(rows, height)) @ inverse.T  # pixels of the earlier frame
    within = ((seen_from > -0.5) & (seen_from < (width - 0.5, height - 0.5))).all(-1)
    middles = _grid(_middles(cols, cols * CELL), _middles(rows, rows * CELL))
    came_from = (middles @ inverse.T - (CELL - 1) / 2) / CELL  # (rows, cols, 2): x, y in cells of the earlier map
    x, y = np.clip(came_from[..., 0], 0, cols - 1), np.clip(came_from[..., 1], 0, rows - 1)
    near = np.rint(y).astype(np.intp), np.rint(x).astype(np.intp)
    known = earlier.known[near] & within
    looked_s = np.where(within, earlier.looked_s[near], now_s)
    return CarriedMap(_bilinear(earlier.logits, y, x), known, np.ones((rows, cols), bool), looked_s)


def with_box(earlier: CarriedMap, box: CellBox, logits: npt.NDArray[np.float32], now_s: float) -> CarriedMap:
    """The map with a box of cells scanned anew."""
    rows, cols = slice(box[0], box[2]), slice(box[1], box[3])
    values, known = earlier.logits.copy(), earlier.known.copy()
    moved, looked_s = earlier.moved.copy(), earlier.looked_s.copy()
    values[rows, cols], known[rows, cols], moved[rows, cols], looked_s[rows, cols] = logits, True, False, now_s
    return CarriedMap(values, known, moved, looked_s)


def _middles(cells: int, length_px: int) -> npt.NDArray[np.float64]:
    """Pixels half a cell before each cell's visible end along one axis: the middle of a cell that is seen whole."""
    ends = np.minimum(np.arange(1, cells + 1) * CELL, length_px)
    return np.asarray(np.maximum(ends - (CELL + 1) / 2, 0.0))


def _grid(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(rows, cols, 3) of points x, y, 1."""
    at_x, at_y = np.meshgrid(x, y)
    return np.stack([at_x, at_y, np.ones_like(at_x)], -1)


def _bilinear(
    values: npt.NDArray[np.float32], y: npt.NDArray[np.float64], x: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    top, left = np.floor(y).astype(np.intp), np.floor(x).astype(np.intp)
    bottom, right = np.minimum(top + 1, values.shape[0] - 1), np.minimum(left + 1, values.shape[1] - 1)
    down, across = (y - top).astype(np.float32), (x - left).astype(np.float32)
    upper = values[top, left] * (1 - across) + values[top, right] * across
    lower = values[bottom, left] * (1 - across) + values[bottom, right] * across
    return np.asarray(upper * (1 - down) + lower * down, np.float32)


def log_odds(probability: float) -> float:
    """What a logistic function makes this probability of; far out, but finite, for 0 and 1."""
    kept = min(max(probability, 1e-9), 1 - 1e-9)
    return math.log(kept / (1 - kept))
