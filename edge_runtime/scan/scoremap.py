"""The score map of a frame: the logits of its cells and windows, and the probabilities that they stand for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.models.card import Calibration

_SATURATION = 60.0  # exp stays finite, and float32 probabilities are 0 or 1 long before


@dataclass(frozen=True, slots=True, eq=False)
class ScoreMap:
    """What an engine found out about one frame, on the lattice of its padded picture.

    Attributes:
        cell_logits: (rows, cols) float32, the network's logit of each 32x32 cell.
        cell_scores: (rows, cols) float32, probability of each cell.
        window_logits: (ny, nx) float32, mean logit of each window.
        window_scores: (ny, nx) float32, probability of each window.
        xs: (nx,) int, left edge of the windows of each column, pixels.
        ys: (ny,) int, top edge of the windows of each row, pixels.
    """

    cell_logits: npt.NDArray[np.float32]
    cell_scores: npt.NDArray[np.float32]
    window_logits: npt.NDArray[np.float32]
    window_scores: npt.NDArray[np.float32]
    xs: npt.NDArray[np.intp]
    ys: npt.NDArray[np.intp]

    @property
    def max_score(self) -> float:
        """Highest window score."""
        return float(self.window_scores.max())


def probabilities(logits: npt.NDArray[np.floating], *, scale: float, bias: float) -> npt.NDArray[np.float32]:
    """``sigmoid(scale * logits + bias)`` of any shape, float32."""
    exponent = np.clip(-(scale * logits.astype(np.float64) + bias), -_SATURATION, _SATURATION)
    return (1.0 / (1.0 + np.exp(exponent))).astype(np.float32)


def score_map(
    cell_logits: npt.NDArray[np.float32],
    window_logits: npt.NDArray[np.float32],
    *,
    row_starts: npt.NDArray[np.intp],
    col_starts: npt.NDArray[np.intp],
    calibration: Calibration,
) -> ScoreMap:
    """The score map of logits.

    Args:
        cell_logits: (rows, cols) float32.
        window_logits: (ny, nx) float32.
        row_starts: (ny,) first row of cells of each row of windows.
        col_starts: (nx,) first column of cells of each column of windows.
        calibration: of the engine that the logits come from.
    """
    return ScoreMap(
        cell_logits=cell_logits,
        cell_scores=probabilities(cell_logits, scale=calibration.cell_scale, bias=calibration.cell_bias),
        window_logits=window_logits,
        window_scores=probabilities(window_logits, scale=calibration.scale, bias=calibration.bias),
        xs=col_starts * lattice.CELL,
        ys=row_starts * lattice.CELL,
    )
