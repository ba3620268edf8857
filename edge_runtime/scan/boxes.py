"""Boxes of cells: which few rectangles to scan, so that all wanted cells are in one. Each costs its halo as well."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.lattice import CellBox
from crackedge.edge_runtime.scan.passes import HALO_CELLS, scanned_cells

_NEAR = np.ones((2 * HALO_CELLS + 1, 2 * HALO_CELLS + 1), np.uint8)  # cells that near to each other share their halos


def boxes_around(wanted: npt.NDArray[np.bool_]) -> list[CellBox]:
    """Boxes that hold all wanted cells of a frame, together cheap; the whole frame where that is cheaper.

    Boxes are merged as long as that saves cells that go through the network; no search for the best cover, which
    would take longer than it saves.

    Args:
        wanted: (rows, cols), one for each cell of the frame.
    """
    rows, cols = wanted.shape
    if not wanted.any():
        return []
    count, labels = cv2.connectedComponents(cv2.dilate(wanted.view(np.uint8), _NEAR), connectivity=8)
    boxes = [_bounds(wanted & (labels == label)) for label in range(1, count)]
    while (pair := _best_merger(boxes, (rows, cols))) is not None:
        one, other = pair
        merged = _around_both(boxes[one], boxes[other])
        boxes = [box for number, box in enumerate(boxes) if number not in pair] + [merged]
    whole = (0, 0, rows, cols)
    if sum(scanned_cells(box, (rows, cols)) for box in boxes) >= scanned_cells(whole, (rows, cols)):
        return [whole]
    return sorted(boxes)


def _best_merger(boxes: list[CellBox], cells_hw: tuple[int, int]) -> tuple[int, int] | None:
    """Numbers of the two boxes whose merging saves most, if any does."""
    best, saved_most = None, -1
    for one in range(len(boxes)):
        for other in range(one + 1, len(boxes)):
            both = _around_both(boxes[one], boxes[other])
            apart = scanned_cells(boxes[one], cells_hw) + scanned_cells(boxes[other], cells_hw)
            saved = apart - scanned_cells(both, cells_hw)
            if saved > saved_most:
                best, saved_most = (one, other), saved
    return best


def _around_both(one: CellBox, other: CellBox) -> CellBox:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _bounds(mask: npt.NDArray[np.bool_]) -> CellBox:
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1
