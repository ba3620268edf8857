from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crackedge.edge_runtime.scan.boxes import boxes_around
from crackedge.edge_runtime.scan.passes import scanned_cells

MASKS = hnp.arrays(bool, st.tuples(st.integers(7, 40), st.integers(7, 40)), elements=st.booleans(), fill=st.just(False))


@given(MASKS)
def test_boxes_hold_all_that_is_wanted_and_never_cost_more_than_the_frame(wanted: npt.NDArray[np.bool_]) -> None:
    boxes = boxes_around(wanted)
    covered = np.zeros_like(wanted)
    for row0, col0, row1, col1 in boxes:
        covered[row0:row1, col0:col1] = True
    assert (covered | ~wanted).all()
    whole = scanned_cells((0, 0, *wanted.shape), wanted.shape)
    assert sum(scanned_cells(box, wanted.shape) for box in boxes) <= whole


def test_a_new_column_is_one_strip_and_far_corners_are_two_boxes() -> None:
    wanted = np.zeros((34, 60), bool)
    assert boxes_around(wanted) == []
    wanted[:, -1] = True
    assert boxes_around(wanted) == [(0, 59, 34, 60)]
    wanted[:] = False
    wanted[0, 0] = wanted[33, 59] = True
    assert boxes_around(wanted) == [(0, 0, 1, 1), (33, 59, 34, 60)]
    wanted[::3, ::3] = True
    assert boxes_around(wanted) == [(0, 0, 34, 60)]
