from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.lattice import WINDOW_CELLS, CellBox
from crackedge.edge_runtime.scan.passes import HALO_CELLS, MOST_CELLS, passes, scanned_cells


def size_hw(box: CellBox) -> tuple[int, int]:
    return box[2] - box[0], box[3] - box[1]


@st.composite
def boxes(draw: st.DrawFn) -> tuple[CellBox, tuple[int, int]]:
    rows, cols = draw(st.integers(7, 140)), draw(st.integers(7, 250))
    row0, col0 = draw(st.integers(0, rows - 1)), draw(st.integers(0, cols - 1))
    return (row0, col0, draw(st.integers(row0 + 1, rows)), draw(st.integers(col0 + 1, cols))), (rows, cols)


@settings(max_examples=150)
@given(boxes())
def test_passes_give_every_cell_once_with_its_halo_and_stay_small(asked: tuple[CellBox, tuple[int, int]]) -> None:
    box, cells_hw = asked
    given_times = np.zeros(cells_hw, int)
    pieces = passes(box, cells_hw)
    for scanned, kept in pieces:
        given_times[kept[0] : kept[2], kept[1] : kept[3]] += 1
        assert min(size_hw(scanned)) >= WINDOW_CELLS
        assert np.prod(size_hw(scanned)) <= MOST_CELLS
        for axis in (0, 1):
            assert 0 <= scanned[axis] <= max(0, kept[axis] - HALO_CELLS)
            assert min(cells_hw[axis], kept[axis + 2] + HALO_CELLS) <= scanned[axis + 2] <= cells_hw[axis]
    expected = np.zeros(cells_hw, int)
    expected[box[0] : box[2], box[1] : box[3]] = 1
    assert np.array_equal(given_times, expected)
    assert len({size_hw(scanned) for scanned, _ in pieces}) == 1  # so that one interpreter serves them all
    assert scanned_cells(box, cells_hw) == sum(int(np.prod(size_hw(scanned))) for scanned, _ in pieces)


@pytest.mark.parametrize("cells_hw", [(7, 7), (23, 40), (34, 60), (60, 34)])
def test_up_to_1080p_a_frame_is_one_pass_without_a_halo(cells_hw: tuple[int, int]) -> None:
    whole = (0, 0, *cells_hw)
    assert passes(whole, cells_hw) == ((whole, whole),)


def test_what_a_4k_frame_costs_more_than_one_pass() -> None:
    whole = (0, 0, 68, 120)
    assert len(passes(whole, (68, 120))) == 6
    assert scanned_cells(whole, (68, 120)) / (68 * 120) == pytest.approx(1.285, abs=0.001)


def test_a_strip_is_cut_across_only() -> None:
    cuts = {scanned[1] for scanned, _ in passes((0, 0, 7, 1000), (7, 1000))}
    assert len(cuts) == 4


def test_small_boxes_share_few_sizes() -> None:
    sizes = {
        size_hw(passes((row, col, row + high, col + wide), (34, 60))[0].scanned)
        for row in range(0, 30, 3)
        for col in range(0, 50, 3)
        for high in (1, 2, 3, 4)
        for wide in (1, 2, 3, 4)
    }
    assert len(sizes) <= 16


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (3, 3, 2, 5), (-1, 0, 5, 5), (0, 0, 8, 7), (0, 0, 7, 8)])
def test_boxes_that_are_none_are_refused(box: CellBox) -> None:
    with pytest.raises(OptionError, match=r"box \(.*\) of cells: expected 0 <= row0 < row1 <= 7"):
        passes(box, (7, 7))
