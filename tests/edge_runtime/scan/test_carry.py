from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackedge.edge_runtime.scan.carry import UNKNOWN_LOGIT, CarriedMap, blank, carried, with_box

ROWS, COLS = 9, 12


def ramp() -> CarriedMap:
    """Logits that rise by 1 a column and 10 a row, looked at at second 1."""
    row, col = np.mgrid[:ROWS, :COLS]
    return with_box(blank((ROWS, COLS), 0.0), (0, 0, ROWS, COLS), (10 * row + col).astype(np.float32), 1.0)


def test_a_blank_map_knows_nothing_and_a_box_is_known() -> None:
    empty = blank((ROWS, COLS), 3.0)
    assert not empty.known.any()
    assert (empty.logits == UNKNOWN_LOGIT).all()
    part = with_box(empty, (2, 3, 5, 6), np.ones((3, 3), np.float32), 4.0)
    assert int(part.known.sum()) == 9
    assert part.stale_s(5.0) == 2.0
    assert not empty.known.any()


@given(st.floats(-150, 150), st.floats(-100, 100))
def test_a_shift_carries_logits_with_the_picture(x: float, y: float) -> None:
    here = carried(ramp(), np.array([[1, 0, x], [0, 1, y]]), 2.0, frame_hw=(ROWS * 32, COLS * 32))
    row, col = np.mgrid[:ROWS, :COLS]
    from_row, from_col = row - y / 32, col - x / 32
    inside = (from_row >= 0) & (from_row <= ROWS - 1) & (from_col >= 0) & (from_col <= COLS - 1)
    assert here.logits[inside] == pytest.approx((10 * from_row + from_col)[inside], abs=1e-3)
    assert here.known[inside].all()
    assert here.moved.all()
    gone = (from_row < -0.51) | (from_row > ROWS - 0.49) | (from_col < -0.51) | (from_col > COLS - 0.49)
    assert not here.known[gone].any()
    assert (here.looked_s[gone] == 2.0).all()
    assert (here.looked_s[here.known] == 1.0).all()


def test_a_quarter_turn_carries_cells_round() -> None:
    square = with_box(blank((9, 9), 0.0), (0, 0, 9, 9), np.arange(81, dtype=np.float32).reshape(9, 9), 1.0)
    side = 9 * 32 - 1  # pixel centres 0 to 287
    here = carried(square, np.array([[0.0, -1.0, side], [1.0, 0.0, 0.0]]), 2.0, frame_hw=(9 * 32, 9 * 32))
    assert here.logits == pytest.approx(np.rot90(square.logits, -1), abs=1e-3)


@pytest.mark.parametrize("rise", [8, 20, 40, 64])
def test_what_lies_below_a_frame_is_not_known_when_it_comes_into_view(rise: int) -> None:
    """The last row of cells of a frame that is no multiple of 32 px high shows mostly reflections."""
    height = (ROWS - 1) * 32 + 17
    here = carried(ramp(), np.array([[1.0, 0.0, 0.0], [0.0, 1.0, -rise]]), 2.0, frame_hw=(height, COLS * 32))
    new_px = [max(0, min(row * 32 + 32, height) + rise - height) for row in range(ROWS)]
    assert here.known.all(1).tolist() == [px <= 16 for px in new_px]
    still = carried(ramp(), np.eye(2, 3), 2.0, frame_hw=(height, COLS * 32))
    assert still.known.all()
