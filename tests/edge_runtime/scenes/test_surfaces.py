from __future__ import annotations

import numpy as np
import pytest

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.scenes.surfaces import SURFACES, render_surface


@pytest.mark.parametrize("kind", sorted(SURFACES))
def test_every_surface_has_size_texture_and_a_seed(kind: str) -> None:
    def picture(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return render_surface(kind, (150, 231), np.random.default_rng(seed))

    for seed in range(4):  # straight and turned
        image = picture(seed)
        assert image.shape == (150, 231, 3)
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        assert image.std() > 1
        assert np.mean((image == 0) | (image == 255)) < 0.5
    assert np.array_equal(picture(1), picture(1))
    assert not np.array_equal(picture(1), picture(2))


def test_none_draws_a_surface() -> None:
    images = [render_surface(None, (64, 64), np.random.default_rng(seed)) for seed in range(5)]
    assert len({image.tobytes() for image in images}) == 5


def test_an_unknown_surface_names_the_known() -> None:
    with pytest.raises(OptionError, match=r"surface 'ice'.*concrete.*brick"):
        render_surface("ice", (64, 64), np.random.default_rng(0))
