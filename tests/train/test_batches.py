from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("keras", reason="the workstation's packages are not installed")

from crackedge.benchmarks.data_sets import read_image, read_set
from crackedge.edge_runtime.lattice import TILE
from crackedge.train.batches import CanvasBatches, _tile, draw_canvas
from crackedge.train.corpus import Corpus, gather
from crackedge.train.recipe import Recipe, SetUse

PLAIN = Recipe("plain", augment="flip", canvas_px=TILE, batch=3)


def _noise(height: int, width: int, seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def _save(path: Path, image: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)


def test_plain_tiles_are_the_whole_photograph_mirrored_or_not(tmp_path: Path) -> None:
    photos = {True: _noise(227, 300, 1), False: _noise(256, 256, 2)}
    for crack, image in photos.items():
        _save(tmp_path / "tiles" / "train" / ("crack" if crack else "no_crack") / "0.png", image)
    corpus = Corpus((read_set(tmp_path / "tiles" / "train"),), (SetUse(smoothing=0.1),))
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(24):
        canvas, truth = draw_canvas(corpus, PLAIN, rng)
        target, weight = truth[0, 0, :2]
        crack = bool(target > 0.5)
        assert target == pytest.approx(0.9 if crack else 0.1)
        assert weight == 1
        assert truth[..., 1].sum() == 1  # one window, one label
        whole = cv2.resize(photos[crack], (TILE, TILE), interpolation=cv2.INTER_AREA)
        mirrored = bool((canvas == whole[:, ::-1]).all())
        assert mirrored or (canvas == whole).all()
        seen.add((crack, mirrored))
    assert len(seen) == 4


def test_plain_tiles_of_masked_photographs_are_windows_of_them(tmp_path: Path) -> None:
    image = _noise(230, 260, 3)
    mask = np.zeros((230, 260), np.uint8)
    mask[100:106] = 255
    for split_set, number in (("masked", 0), ("small", 1)):
        rows = slice(None) if number == 0 else slice(60, 160)
        _save(tmp_path / split_set / "train" / "images" / "0.png", image[rows])
        _save(tmp_path / split_set / "train" / "masks" / "0.png", mask[rows])
    corpus = Corpus((read_set(tmp_path / "masked" / "train"),), (SetUse(),))
    rng = np.random.default_rng(0)
    for _ in range(6):
        canvas, truth = draw_canvas(corpus, PLAIN, rng)
        assert truth[0, 0, :2].tolist() == [1, 1]
        places = [
            cv2.minMaxLoc(cv2.matchTemplate(image, tile, cv2.TM_SQDIFF))[0]
            for tile in (canvas, np.ascontiguousarray(canvas[:, ::-1]))
        ]
        assert min(places) == pytest.approx(0, abs=1e4)
        assert max(places) > 1e7

    small = Corpus((read_set(tmp_path / "small" / "train"),), (SetUse(),))
    canvas, truth = draw_canvas(small, PLAIN, rng)
    assert canvas.shape == (TILE, TILE, 3)
    assert truth.shape == (7, 7, 4)


def test_plain_tiles_of_masked_photographs_without_a_crack_are_windows_too(tmp_path: Path) -> None:
    image = _noise(500, 600, 4)
    _save(tmp_path / "masked" / "train" / "images" / "0.png", image)
    _save(tmp_path / "masked" / "train" / "masks" / "0.png", np.zeros((500, 600), np.uint8))
    corpus = Corpus((read_set(tmp_path / "masked" / "train"),), (SetUse(),))
    canvas, truth = draw_canvas(corpus, PLAIN, np.random.default_rng(0))
    assert truth[0, 0, :2].tolist() == [0, 1]
    tiles = canvas, np.ascontiguousarray(canvas[:, ::-1])
    assert min(cv2.matchTemplate(image, tile, cv2.TM_SQDIFF).min() for tile in tiles) == pytest.approx(0, abs=1e4)


@pytest.mark.parametrize("background_only", [False, True])
def test_plain_tiles_of_boxed_photographs_are_the_whole(photographs: Path, background_only: bool) -> None:
    boxed = read_set(photographs / "boxed" / "train")
    corpus = Corpus((boxed,), (SetUse(background_only=background_only),))
    canvas, truth = draw_canvas(corpus, PLAIN, np.random.default_rng(0))
    wholes = [cv2.resize(read_image(entry.image), (TILE, TILE), interpolation=cv2.INTER_AREA) for entry in boxed.items]
    assert any((canvas == whole).all() or (canvas == whole[:, ::-1]).all() for whole in wholes)
    assert truth[0, 0, :2].tolist() == ([0, 0] if background_only else [1, 1])  # inside a box nothing is known


@pytest.mark.parametrize("masks", [False, True])
def test_a_view_is_wider_than_a_tile_only_where_masks_say_what_it_shows(photographs: Path, masks: bool) -> None:
    recipe = Recipe("wide", synthetic=0.0, wide=1.0)
    names = ["tiles", "masked"] if masks else ["tiles"]
    corpus = Corpus(tuple(read_set(photographs / name / "train") for name in names), (SetUse(),) * len(names))
    assert corpus.has_masks is masks
    rng = np.random.default_rng(0)
    truths = [draw_canvas(corpus, recipe, rng)[1] for _ in range(12)]
    assert all(truth[..., 1].sum() == pytest.approx(1) for truth in truths)
    heaviest = {round(float(truth[..., 1].max() / truth[..., 1][truth[..., 1] > 0].min())) for truth in truths}
    assert (4 in heaviest) is not masks  # a mosaic's own tiles weigh four times as much as windows across them


def test_batches_of_plain_tiles(photographs: Path) -> None:
    batches = CanvasBatches(gather(photographs, PLAIN), PLAIN)
    images, truths = batches[0]
    assert (images.shape, images.dtype) == ((3, TILE, TILE, 3), np.float32)
    assert (truths.shape, truths.dtype) == ((3, 7, 7, 4), np.float32)
    assert (batches[0][0] == images).all()


@pytest.mark.parametrize("size_hw", [(540, 960), (960, 540)])
def test_a_tile_of_a_long_photograph_shows_the_crack_that_it_is_said_to_hold(
    tmp_path: Path, size_hw: tuple[int, int]
) -> None:
    height, width = size_hw
    image = np.full((height, width, 3), 128, np.uint8)
    image[height // 3 : height * 2 // 3, width // 3 : width * 2 // 3] = (255, 0, 0)
    _save(tmp_path / "site" / "train" / "crack" / "0.png", image)
    recipe = Recipe("tiles", canvas_px=TILE, synthetic=0.0, wide=0.0)
    corpus = Corpus((read_set(tmp_path / "site" / "train"),), (SetUse(),))
    rng = np.random.default_rng(0)
    for _ in range(20):
        view = _tile(corpus, recipe, rng)
        assert view.weak_crack
        red = (view.image[..., 0] > view.image[..., 1] + 50).mean()
        assert 0.05 < red < 0.3  # a ninth of the photograph, nearly whole
