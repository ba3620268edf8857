"""Crack regions: connected cracked cells of one frame, with outline, box and score."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.models.card import OperatingPoint
from crackedge.edge_runtime.scan.scoremap import ScoreMap

_WINDOW = np.ones((lattice.WINDOW_CELLS, lattice.WINDOW_CELLS), np.uint8)
_NO_WINDOW = np.float32(-1.0)  # below every score


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """Cells whose scores come from earlier frames, and the thresholds that hold for them.

    Attributes:
        cells: (rows, cols) bool.
        point: for these cells, and for windows that contain one.
    """

    cells: npt.NDArray[np.bool_]
    point: OperatingPoint


@dataclass(frozen=True, slots=True)
class Region:
    """Cracked cells that touch, by an edge or a corner. Coordinates are pixels of the frame.

    Attributes:
        bbox: x0, y0, x1, y1; right and bottom exclusive.
        polygon: x, y of the corners of the outer outline, clockwise on the screen, right and bottom exclusive. One
            ring: where cells touch by a corner only, it passes through that corner twice. Holes are not outlined.
        score: the highest score of the cracked windows that contain one of the cells.
        cells: row, column of each cell on the lattice of 32 pixels, in reading order.
    """

    bbox: tuple[int, int, int, int]
    polygon: tuple[tuple[int, int], ...]
    score: float
    cells: tuple[tuple[int, int], ...]


def find_regions(
    scores: ScoreMap,
    point: OperatingPoint,
    *,
    frame_hw: tuple[int, int],
    allowed: npt.NDArray[np.bool_] | None = None,
    carried: Carried | None = None,
) -> list[Region]:
    """The crack regions of a frame, the highest score first, then in reading order of their first cell.

    A window at or above its threshold is cracked. A cell is marked when a cracked window contains it and its own
    score reaches the cell threshold; a cracked window marks at least its best cell that shows some of the frame.
    Cells that are not allowed are never marked, and no other takes their place: a window that reaches into the area
    with a crack outside it marks nothing there.

    Args:
        scores: the score map of the frame.
        point: the thresholds.
        frame_hw: height and width of the frame in pixels, without padding.
        allowed: (rows, cols), the cells where cracks are looked for; all unless given.
        carried: cells with thresholds of their own, if there are any.
    """
    marked, best_window = _marked(scores, point, frame_hw, allowed, carried)
    return _regions_of(marked, best_window, frame_hw) if marked.any() else []


def cracked_cells(scores: ScoreMap, point: OperatingPoint, *, frame_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """(rows, cols): the cells of the regions that :func:`find_regions` gives, without walking round them."""
    return _marked(scores, point, frame_hw, None, None)[0]


def highest_score(scores: ScoreMap, allowed: npt.NDArray[np.bool_] | None = None) -> float:
    """The highest score of the windows that contain an allowed cell; 0 where there are none."""
    if allowed is None:
        return scores.max_score
    return float(scores.window_scores.max(initial=0.0, where=_has_cell(scores, allowed)))


def _marked(
    scores: ScoreMap,
    point: OperatingPoint,
    frame_hw: tuple[int, int],
    allowed: npt.NDArray[np.bool_] | None,
    carried: Carried | None,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """(rows, cols) each: the marked cells, and the highest score of the cracked windows that contain a cell."""
    cracked = scores.window_scores >= np.float32(point.window_threshold)
    certain = scores.cell_scores >= np.float32(point.cell_threshold)
    if carried is not None:
        low = scores.window_scores >= np.float32(carried.point.window_threshold)
        cracked |= low & _has_cell(scores, carried.cells)
        certain |= carried.cells & (scores.cell_scores >= np.float32(carried.point.cell_threshold))
    rows, cols = scores.cell_scores.shape
    if not cracked.any():
        return np.zeros((rows, cols), bool), np.full((rows, cols), _NO_WINDOW, np.float32)
    height, width = frame_hw
    inside = np.zeros((rows, cols), bool)  # cells beyond a frame smaller than a tile show nothing but reflections
    inside[: -(-height // lattice.CELL), : -(-width // lattice.CELL)] = True

    best_window = _best_cracked_window(scores, cracked)
    marked = (best_window > _NO_WINDOW) & certain & inside
    _mark_best_cells(marked, scores, cracked, inside)
    if allowed is not None:
        marked &= allowed
    return marked, best_window


def _has_cell(scores: ScoreMap, cells: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Of each window, whether one of its cells is among them."""
    window_has = cv2.dilate(cells.view(np.uint8), _WINDOW, anchor=(0, 0)).view(bool)
    return np.asarray(window_has[np.ix_(scores.ys // lattice.CELL, scores.xs // lattice.CELL)])


def _best_cracked_window(scores: ScoreMap, cracked: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """(rows, cols): the highest score of the cracked windows that contain each cell, -1 where there is none."""
    starts = np.full(scores.cell_scores.shape, _NO_WINDOW, np.float32)
    starts[np.ix_(scores.ys // lattice.CELL, scores.xs // lattice.CELL)] = np.where(
        cracked, scores.window_scores, _NO_WINDOW
    )
    last = lattice.WINDOW_CELLS - 1  # a cell belongs to the windows that start up to six cells above and left of it
    return np.asarray(cv2.dilate(starts, _WINDOW, anchor=(last, last)), np.float32)


def _mark_best_cells(
    marked: npt.NDArray[np.bool_],
    scores: ScoreMap,
    cracked: npt.NDArray[np.bool_],
    inside: npt.NDArray[np.bool_],
) -> None:
    """Mark the best cell of every cracked window that has no marked cell yet."""
    bare_y, bare_x = np.nonzero(cracked & ~_has_cell(scores, marked))
    if bare_y.size == 0:
        return
    ys, xs = scores.ys // lattice.CELL, scores.xs // lattice.CELL
    side = lattice.WINDOW_CELLS
    visible = np.where(inside, scores.cell_scores, _NO_WINDOW)
    windows = np.lib.stride_tricks.sliding_window_view(visible, (side, side))[ys[bare_y], xs[bare_x]]
    best = windows.reshape(len(windows), side * side).argmax(1)
    marked[ys[bare_y] + best // side, xs[bare_x] + best % side] = True


def _regions_of(
    marked: npt.NDArray[np.bool_], best_window: npt.NDArray[np.float32], frame_hw: tuple[int, int]
) -> list[Region]:
    _, labels = cv2.connectedComponents(marked.view(np.uint8), connectivity=8)
    rows, cols = np.nonzero(marked)
    order = np.argsort(labels[rows, cols], kind="stable")
    rows, cols = rows[order], cols[order]
    firsts = np.flatnonzero(np.diff(labels[rows, cols], prepend=0))
    lasts = np.append(firsts[1:], len(rows))
    scores = np.maximum.reduceat(best_window[rows, cols], firsts)
    cells = list(zip(rows.tolist(), cols.tolist(), strict=True))
    grid = np.pad(marked, 1)
    regions = []
    for first, last, score in zip(firsts.tolist(), lasts.tolist(), scores.tolist(), strict=True):
        polygon = _outline(grid, cells[first], frame_hw)
        xs, ys = zip(*polygon, strict=True)
        regions.append(Region((min(xs), min(ys), max(xs), max(ys)), polygon, score, tuple(cells[first:last])))
    return sorted(regions, key=lambda region: (-region.score, region.cells[0]))


def _outline(
    grid: npt.NDArray[np.bool_], first: tuple[int, int], frame_hw: tuple[int, int]
) -> tuple[tuple[int, int], ...]:
    """Walk round the region of the cell ``first`` (its first in reading order) with the region at the right hand.

    At each crossing the walk turns left where it can. Where two cells touch by a corner it so goes over to the other
    cell, and one ring holds all that touches.

    Args:
        grid: (rows + 2, cols + 2) marked cells with an empty border; other regions may be on it.
        first: row and column of the region's first cell in reading order, without the border.
        frame_hw: the frame's size in pixels, to clip to.
    """
    height, width = frame_hw
    filled, grid_width = grid.tobytes(), grid.shape[1]
    around = (0, 1, grid_width + 1, grid_width)  # the cells at a crossing, clockwise from the north-west
    steps = (1, grid_width, -1, -grid_width)  # east, south, west, north
    start = first[0] * grid_width + first[1]  # a crossing has the index of its north-western cell on the grid
    crossing, heading = start, 0
    corners: list[tuple[int, int]] = []
    while not corners or crossing != start:
        row, col = divmod(crossing, grid_width)
        corners.append((min(col * lattice.CELL, width), min(row * lattice.CELL, height)))
        turn = 0
        while turn == 0:
            crossing += steps[heading]
            left, right = filled[crossing + around[heading - 3]], filled[crossing + around[heading - 2]]
            turn = -1 if left else 0 if right else 1
        heading = (heading + turn) % 4
    return tuple(corners)
