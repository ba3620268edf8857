from __future__ import annotations

import numpy as np
import pytest

from crackedge.train.augment import _CHAIN, affine, photograph


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


def test_the_same_seed_gives_the_same_photograph() -> None:
    first, second = (photograph(_picture(), np.random.default_rng(9)) for _ in range(2))
    assert (first == second).all()


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
