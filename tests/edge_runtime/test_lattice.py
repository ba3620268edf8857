from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.errors import OptionError

edges = st.integers(1, 500)
steps = st.integers(1, lattice.WINDOW_CELLS)


@given(edges, edges)
def test_the_padded_size_is_the_smallest_on_the_lattice(height: int, width: int) -> None:
    for padded, edge in zip(lattice.padded_hw(height, width), (height, width), strict=True):
        assert padded % lattice.CELL == 0
        assert padded >= max(edge, lattice.TILE)
        assert padded - lattice.CELL < edge or padded == lattice.TILE


@given(edges, edges, st.integers(0, 2**32 - 1))
def test_padding_reflects_like_opencv(height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    padded = lattice.pad(image)
    down, right = padded.shape[0] - height, padded.shape[1] - width
    assert padded.shape[:2] == lattice.padded_hw(height, width)
    assert np.array_equal(padded, cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_REFLECT_101))


def test_a_frame_that_fits_is_not_copied() -> None:
    image = np.zeros((224, 256, 3), np.uint8)
    assert lattice.pad(image) is image


@given(st.integers(7, 200), steps)
def test_windows_are_whole_stay_inside_and_cover_every_cell(cells: int, step: int) -> None:
    starts = lattice.window_starts(cells, step)
    assert starts[0] == 0
    assert starts[-1] + lattice.WINDOW_CELLS == cells
    assert (np.diff(starts) > 0).all()
    assert (np.diff(starts) <= step).all()  # and as a step is at most a window, there is no gap
    assert (starts[:-1] % step == 0).all()


@given(st.integers(7, 20), st.integers(7, 20), st.integers(0, 2**32 - 1))
def test_a_window_mean_is_the_mean_of_its_cells(rows: int, cols: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(0, 5, (rows, cols)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(values, (7, 7))
    np.testing.assert_allclose(lattice.window_means(values), windows.mean(axis=(2, 3)), atol=1e-5)


@pytest.mark.parametrize("stride", [32, 64, 128, 224])
def test_strides_are_whole_cells(stride: int) -> None:
    assert lattice.stride_cells(stride) * 32 == stride


@pytest.mark.parametrize("stride", [0, -32, 33, 112, 256])
def test_other_strides_are_refused(stride: int) -> None:
    with pytest.raises(OptionError, match=f"stride {stride} px: expected a multiple of 32 between 32 and 224"):
        lattice.stride_cells(stride)
