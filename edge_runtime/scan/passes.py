"""Passes: the pieces that a frame, or a box of it, is scanned in, each with a halo of context. Pure arithmetic.

Up to 1080p a frame is one pass. A larger one is cut into horizontal bands, and those into blocks where blocks cost
fewer cells, so that memory stays bounded; all pieces have one size, because an interpreter has one (docs/adr/0009).
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import NamedTuple

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.lattice import WINDOW_CELLS, CellBox

HALO_CELLS = 4  # of context at each side that is not the frame's edge
MOST_CELLS = 60 * 34  # of one pass: 1920x1088 px, and so no frame takes more memory than 1080p does

_EVEN_UP_TO = 16  # cells


class Pass(NamedTuple):
    """One piece of work for the network.

    Attributes:
        scanned: the box that goes through the network, at least 7x7 cells.
        kept: the box within it whose logits count.
    """

    scanned: CellBox
    kept: CellBox


@functools.lru_cache(maxsize=1024)
def passes(box: CellBox, cells_hw: tuple[int, int]) -> tuple[Pass, ...]:
    """The passes that give the logits of a box of cells.

    The size of a single pass is rounded up, to an even number of cells and from 16 on to a multiple of four: an
    interpreter is kept for each size, and few sizes serve many boxes.

    Args:
        box: what is asked for.
        cells_hw: rows and columns of the whole frame.

    Raises:
        OptionError: the box is empty or not within the frame.
    """
    row0, col0, row1, col1 = box
    rows, cols = cells_hw
    if not (0 <= row0 < row1 <= rows and 0 <= col0 < col1 <= cols):
        raise OptionError(f"box {box} of cells: expected 0 <= row0 < row1 <= {rows} and 0 <= col0 < col1 <= {cols}")
    if _size(row0, row1, rows, 1) * _size(col0, col1, cols, 1) <= MOST_CELLS:
        down, right = _parts(row0, row1, rows, 1), _parts(col0, col1, cols, 1)
    else:
        down, right = _cheapest(box, cells_hw)
    return tuple(
        Pass((y.first, x.first, y.last, x.last), (y.start, x.start, y.stop, x.stop)) for y in down for x in right
    )


def scanned_cells(box: CellBox, cells_hw: tuple[int, int]) -> int:
    """How many cells go through the network for a box, halos counted."""
    return sum((bottom - top) * (right - left) for (top, left, bottom, right), _ in passes(box, cells_hw))


class _Part(NamedTuple):
    """Along one axis: the cells scanned, ``first`` to ``last``, and those kept, ``start`` to ``stop``."""

    first: int
    last: int
    start: int
    stop: int


def _cheapest(box: CellBox, cells_hw: tuple[int, int]) -> tuple[list[_Part], list[_Part]]:
    """The cut into bands and blocks that scans the fewest cells, none of them too large."""
    down, across = (box[0], box[2], cells_hw[0]), (box[1], box[3], cells_hw[1])
    least, bands, columns = math.inf, 1, 1
    for across_count in range(1, box[3] - box[1] + 1):
        wide = _size(*across, across_count)
        if wide * across_count * _size(*down, 1) >= least:
            break  # more columns only cost more
        down_count = next((n for n in range(1, box[2] - box[0] + 1) if _size(*down, n) * wide <= MOST_CELLS), None)
        if down_count is None:
            continue
        cost = wide * across_count * _size(*down, down_count) * down_count
        if cost < least:
            least, bands, columns = cost, down_count, across_count
    return _parts(*down, bands), _parts(*across, columns)


def _size(start: int, stop: int, length: int, count: int) -> int:
    """Cells of each of ``count`` scanned parts of an axis of ``length`` cells, of which ``start`` to ``stop`` count.

    Each part overlaps the next by two halos.
    """
    needed = min(length, stop + HALO_CELLS) - max(0, start - HALO_CELLS)
    size = -(-(needed + 2 * HALO_CELLS * (count - 1)) // count)
    if count == 1:
        step = 2 if size <= _EVEN_UP_TO else 4
        size = -(-size // step) * step
    return min(length, max(WINDOW_CELLS, size))


def _parts(start: int, stop: int, length: int, count: int) -> list[_Part]:
    """The parts themselves, evenly spread, cut in the middle of their overlaps."""
    size = _size(start, stop, length, count)
    last = min(length, stop + HALO_CELLS)
    first = max(0, min(start - HALO_CELLS, length - size))
    span = max(0, last - first - size)
    firsts = [first + span * number // max(1, count - 1) for number in range(count)]
    cuts = [start, *((one + size + other) // 2 for one, other in itertools.pairwise(firsts)), stop]
    return [_Part(one, one + size, *kept) for one, kept in zip(firsts, itertools.pairwise(cuts), strict=True)]
