"""The 32-pixel lattice that windows, cells and both engines share. Pure arithmetic.

A *cell* is a 32x32 square, one logit. A *window* is 7x7 cells: a 224x224 tile, one decision.
All starts are multiples of the cell; the frame is padded by reflection at its right and bottom edge to fit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.frame import Image

PixelWriter = Callable[[Image, npt.NDArray[Any]], None]  # writes (H, W, 3) uint8 into a slot of that shape
CellBox = tuple[int, int, int, int]  # row0, col0, row1, col1 of cells on the padded lattice; the last two exclusive

CELL = 32  # px
WINDOW_CELLS = 7
TILE = CELL * WINDOW_CELLS  # px


def padded_hw(height: int, width: int) -> tuple[int, int]:
    """Size in pixels of the lattice that holds a frame: multiples of 32, at least 224."""
    return max(TILE, -(-height // CELL) * CELL), max(TILE, -(-width // CELL) * CELL)


def cells_hw(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of cells on the lattice of a frame of this size in pixels."""
    padded = padded_hw(height, width)
    return padded[0] // CELL, padded[1] // CELL


def pad(image: Image) -> Image:
    """The frame, padded by reflection at right and bottom to :func:`padded_hw`; itself when it already fits."""
    height, width = padded_hw(*image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    padded = np.empty((height, width, 3), np.uint8)
    pad_into(image, padded)
    return padded


def pad_into(image: Image, out: npt.NDArray[Any], write: PixelWriter | None = None) -> None:
    """Write the frame into ``out`` and fill the rest, at right and bottom, by reflection (the edge is not repeated).

    Args:
        image: (H, W, 3) uint8.
        out: (H', W', 3), no smaller than the frame.
        write: how pixels become the numbers of ``out``; as they are, where none is given.
    """
    height, width = image.shape[:2]
    within = out[:height, :width]
    if write is None:
        within[:] = image
    else:
        write(image, within)
    if width < out.shape[1]:
        out[:height, width:] = within[:, _reflected(width, out.shape[1])]
    if height < out.shape[0]:
        out[height:] = out[_reflected(height, out.shape[0])]


def _reflected(length: int, padded: int) -> npt.NDArray[np.intp]:
    """Where the pixels ``length`` to ``padded`` of an axis come from; a narrow frame is reflected again and again."""
    period = max(1, 2 * (length - 1))
    phase = np.arange(length, padded, dtype=np.intp) % period
    return np.minimum(phase, period - phase) if length > 1 else np.zeros_like(phase)


def stride_cells(stride: int) -> int:
    """A window stride in pixels as whole cells.

    Raises:
        OptionError: the stride is not a positive multiple of 32 of at most 224.
    """
    if stride <= 0 or stride % CELL or stride > TILE:
        raise OptionError(f"stride {stride} px: expected a multiple of {CELL} between {CELL} and {TILE}")
    return stride // CELL


def window_starts(cells: int, step: int) -> npt.NDArray[np.intp]:
    """First cell of each window along one axis of ``cells`` cells, every ``step`` cells, and the last that fits."""
    last = cells - WINDOW_CELLS
    starts = np.arange(0, last + 1, step, dtype=np.intp)
    return starts if starts[-1] == last else np.append(starts, last)


def window_means(cell_values: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Mean over the 7x7 cells of every window at stride 32.

    Args:
        cell_values: (rows, cols), at least 7x7.

    Returns:
        (rows - 6, cols - 6) float32; [r, c] is the window whose first cell is (r, c).
    """
    integral = np.zeros((cell_values.shape[0] + 1, cell_values.shape[1] + 1), np.float64)
    integral[1:, 1:] = cell_values.cumsum(0, dtype=np.float64).cumsum(1)
    n = WINDOW_CELLS
    sums = integral[n:, n:] - integral[:-n, n:] - integral[n:, :-n] + integral[:-n, :-n]
    return (sums / (n * n)).astype(np.float32)
