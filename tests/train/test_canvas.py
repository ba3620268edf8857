from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from crackedge.benchmarks.data_sets import CRACK as TRUE_CRACK
from crackedge.benchmarks.data_sets import mask_windows
from crackedge.train.canvas import CLEAR, CRACK, TILE_CRACK_PX, UNKNOWN, View, heal, mosaic, targets, transplant


def _view(value: int, *, weak: bool = False, smoothing: float = 0.0, size: int = 224) -> View:
    image = np.full((size, size, 3), 128, np.uint8)
    return View(image, np.full((size, size), value, np.uint8), weak_crack=weak, smoothing=smoothing)


def _line(size: int, row: int, thick: int = 4) -> npt.NDArray[np.uint8]:
    label = np.zeros((size, size), np.uint8)
    label[row : row + thick] = CRACK
    return label


def test_windows_of_a_canvas_that_evaluation_labels_have_its_labels() -> None:
    rng = np.random.default_rng(5)
    label = np.zeros((448, 448), np.uint8)
    for _ in range(6):
        row, column = rng.integers(0, 400, 2)
        label[row : row + 5, column : column + 40] = CRACK
    truth = targets(View(np.zeros((448, 448, 3), np.uint8), label))
    by_evaluation = {(w.y, w.x): w.crack for w in mask_windows((label == CRACK).astype(np.int8) * TRUE_CRACK)}
    for y in (0, 128):
        for x in (0, 128):
            target, weight = truth[y // 32, x // 32, :2]
            if (y, x) in by_evaluation:
                assert weight > 0
                assert bool(target) == by_evaluation[y, x]
            else:  # the crack is at the window's edge: plain there, or nothing to learn from
                plain = np.count_nonzero(label[y : y + 224, x : x + 224]) >= TILE_CRACK_PX
                assert (target, weight > 0) == (plain, plain)


@pytest.mark.parametrize(("width", "known"), [(20, True), (9, False)])
def test_a_plain_crack_in_a_windows_corner_is_one(width: int, known: bool) -> None:
    label = np.zeros((224, 224), np.uint8)
    label[-20:, -width:] = CRACK
    target, weight = targets(View(np.zeros((224, 224, 3), np.uint8), label))[0, 0, :2]
    assert (target, weight) == (known, known)


def test_cells_with_crack_pixels_are_cracked_and_those_beside_are_not_judged() -> None:
    near, clear = (targets(View(np.zeros((448, 448, 3), np.uint8), _line(448, row))) for row in (99, 100))
    assert (near[3, :, 2] == 1).all()
    assert (near[3, :, 3] > 0).all()
    assert (near[2, :, 3] == 0).all(), "it ends at row 95, 4 px away"
    assert (clear[2, :, 3] > 0).all(), "5 px away"
    assert (near[6, :, 2] == 0).all()
    assert (near[6, :, 3] > 0).all()


def test_a_cracked_cell_weighs_as_much_as_three_others() -> None:
    truth = targets(View(np.zeros((448, 448, 3), np.uint8), _line(448, 100)))
    assert truth[3, :, 3] == pytest.approx(3 * truth[6, :, 3])


def test_weights_sum_to_one() -> None:
    truth = targets(View(np.zeros((448, 448, 3), np.uint8), _line(448, 200)))
    assert truth[..., 1].sum() == pytest.approx(1)
    assert truth[..., 3].sum() == pytest.approx(1)


def test_nothing_known_weighs_nothing() -> None:
    truth = targets(_view(UNKNOWN, size=448))
    assert truth[..., 1].sum() == 0
    assert truth[..., 3].sum() == 0


def test_a_weak_view_larger_than_a_tile_says_nothing_of_its_windows() -> None:
    assert targets(_view(UNKNOWN, weak=True, size=448))[..., 1].sum() == 0
    assert targets(_view(UNKNOWN, weak=True))[0, 0, :2].tolist() == [1, 1]


def test_a_mosaic_says_of_each_tile_what_is_known_of_it() -> None:
    canvas, truth = mosaic(
        [
            _view(UNKNOWN, weak=True),
            _view(CLEAR),
            _view(UNKNOWN, weak=True, smoothing=0.1),
            View(_view(0).image, _line(224, 90)),
        ]
    )
    assert canvas.image.shape == (448, 448, 3)
    windows = truth[[0, 0, 7, 7], [0, 7, 0, 7]]
    assert windows[:, 0] == pytest.approx([1, 0, 0.9, 1])
    assert (windows[:, 1] > 0).all()
    assert truth[1:3, 1:7, 1].sum() == 0, "windows that mix tiles of unknown content are not judged"
    assert truth[0:7, 7:14, 3].sum() > 0, "a clear tile's cells are judged"
    assert truth[0:7, 0:7, 3].sum() == 0, "a weak tile's cells are not"


def test_four_clear_tiles_make_every_window_clear() -> None:
    _, truth = mosaic([_view(CLEAR)] * 4)
    assert (truth[:8, :8, 1] > 0).all()
    assert (truth[:8, :8, 0] == 0).all()


def test_a_transplanted_crack_darkens_its_mask_and_nothing_else() -> None:
    donor = np.full((224, 224, 3), 180, np.uint8)
    mask = _line(224, 100)
    donor[mask == CRACK] = 60
    image = np.full((224, 224, 3), (90, 120, 150), np.uint8)
    result, label = transplant(image, donor, mask, np.random.default_rng(1))
    assert (label == mask).all()
    inside = result[101:103].mean() / image[101:103].mean()
    assert 0.25 < inside < 0.65
    assert np.abs(result[:80].astype(int) - image[:80]).max() <= 1


def test_a_healed_photograph_shows_its_own_surface_where_the_crack_was() -> None:
    rng = np.random.default_rng(6)
    image = rng.integers(110, 150, (256, 256, 3), dtype=np.uint8)
    label = _line(256, 120, thick=5)
    label[200:, :40] = UNKNOWN
    image[label == CRACK] = 20
    healed, after = heal(image, label, rng)
    assert not (after == CRACK).any()
    assert (after[200:, :40] == UNKNOWN).all()
    assert 105 < healed[121:124].mean() < 155
    assert healed[121:124].std() > 5, "the surface's grain, not a smear"
    assert (healed[:90] == image[:90]).all()


def test_what_is_dark_beside_a_crack_is_covered_too() -> None:
    rng = np.random.default_rng(7)
    image = rng.integers(110, 150, (256, 256, 3), dtype=np.uint8)
    image[116:129] = 20
    healed, _ = heal(image, _line(256, 120, thick=5), rng)
    assert (healed[116:129].mean((1, 2)) > 105).all()


def test_a_photograph_that_is_all_crack_is_left_alone() -> None:
    image = np.full((224, 224, 3), 30, np.uint8)
    label = np.full((224, 224), CRACK, np.uint8)
    healed, after = heal(image, label, np.random.default_rng(0))
    assert healed is image
    assert after is label
