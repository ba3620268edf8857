from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from crackedge.edge_runtime.frame import Image
from crackedge.train import augment
from crackedge.train.augment import (
    _CHAIN,
    Rng,
    affine,
    defocus,
    low_light,
    motion_blur,
    photograph,
    resample,
    sharpen,
)


def _picture() -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    rng = np.random.default_rng(0)
    return rng.integers(60, 200, (448, 448, 3), dtype=np.uint8)


@pytest.mark.parametrize("step", [step for _, step in _CHAIN], ids=lambda step: step.__name__)
def test_each_step_changes_the_picture_and_keeps_its_form(step) -> None:  # type: ignore[no-untyped-def]
    picture = _picture()
    before = picture.copy()
    out = step(picture, np.random.default_rng(3))
    assert out.shape == picture.shape
    assert out.dtype == np.uint8
    assert (out != before).any()
    assert (picture == before).all(), "the input is left alone"


@pytest.mark.parametrize("step", [defocus, motion_blur, resample, sharpen], ids=lambda step: step.__name__)
def test_optics_keep_the_brightness(step: Callable[[Image, Rng], Image]) -> None:
    flat = np.full((64, 64, 3), 100, np.uint8)
    for seed in range(20):
        assert np.abs(step(flat, np.random.default_rng(seed)).astype(int) - 100).max() <= 1


def test_low_light_is_brought_up_again() -> None:
    flat = np.full((64, 64, 3), 100, np.uint8)
    means = [low_light(flat, np.random.default_rng(seed)).mean() for seed in range(20)]
    assert 55 < min(means) < max(means) < 105


@pytest.mark.parametrize(("probability", "least", "most"), [(0.0, 0, 0), (0.1, 1, 40), (1.0, 200, 200)])
def test_a_step_is_applied_with_its_probability(
    monkeypatch: pytest.MonkeyPatch, probability: float, least: int, most: int
) -> None:
    monkeypatch.setattr(augment, "_CHAIN", ((probability, lambda image, _: image + 1),))
    black, rng = np.zeros((2, 2, 3), np.uint8), np.random.default_rng(4)
    assert least <= sum(int(photograph(black, rng)[0, 0, 0]) for _ in range(200)) <= most


def test_the_same_seed_gives_the_same_photograph() -> None:
    first, second = (photograph(_picture(), np.random.default_rng(9)) for _ in range(2))
    assert (first == second).all()


@pytest.mark.parametrize("size", [(240, 600), (600, 240)])
def test_views_are_of_all_parts_of_a_photo_and_of_nothing_else(size: tuple[int, int]) -> None:
    ramp = np.linspace(0, 250, 600).astype(np.uint8)
    plane = np.broadcast_to(ramp if size[1] == 600 else ramp[:, None], size)
    image, label = np.repeat(plane[..., None], 3, axis=2), np.zeros(size, np.uint8)
    middles = [
        affine(image, label, out_px=200, scale=1.0, rng=np.random.default_rng(seed))[0][100, 100, 0]
        for seed in range(40)
    ]
    edge = ramp[100]
    assert edge - 1 <= min(middles) < 75
    assert 175 < max(middles) <= 250 - edge + 1


def test_a_hairline_is_a_crack_in_a_smaller_view_too() -> None:
    label = np.zeros((600, 600), np.uint8)
    label[31::60] = 255
    for seed in range(6):
        _, seen = affine(
            np.zeros((600, 600, 3), np.uint8), label, out_px=224, scale=0.5, rng=np.random.default_rng(seed)
        )
        assert (seen == 255).any()


@pytest.mark.parametrize("scale", [0.4, 0.7, 1.0, 2.5])
def test_a_view_and_its_label_stay_together(scale: float) -> None:
    image = np.full((300, 300, 3), 200, np.uint8)
    label = np.zeros((300, 300), np.uint8)
    image[140:164], label[140:164] = 20, 255
    seen = 0
    for seed in range(8):
        view, seen_label = affine(image, label, out_px=224, scale=scale, rng=np.random.default_rng(seed))
        assert view.shape == (224, 224, 3)
        assert seen_label.shape == (224, 224)
        assert set(np.unique(seen_label)) <= {0, 255}
        dark = view[..., 0] < 110
        agree = (dark == (seen_label == 255)).mean()
        assert agree > 0.97
        seen += int((seen_label == 255).any())
    assert seen >= 4


@pytest.mark.parametrize("scale", [0.4, 0.55, 0.7, 1.0, 1.8])
def test_no_view_makes_a_crack_of_what_is_not_known(scale: float) -> None:
    label = np.zeros((400, 400), np.uint8)
    label[100:301, 60:333] = 128
    label[::40] = 128
    for seed in range(6):
        _, seen = affine(_picture()[:400, :400], label, out_px=224, scale=scale, rng=np.random.default_rng(seed))
        assert set(np.unique(seen)) <= {0, 128}
