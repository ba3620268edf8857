from __future__ import annotations

import numpy as np
import pytest

from crackedge.edge_runtime.scenes.noise import blobs, cloud, relief, wave, white

SIZES = [(64, 96), (1100, 40)]  # one that fits the stored tile and one that does not


@pytest.mark.parametrize("size_hw", SIZES)
def test_fields_have_the_size_asked_for_and_mean_0_and_deviation_1(size_hw: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    for field in (white(rng, size_hw), cloud(rng, size_hw, coarsest=8), relief(cloud(rng, size_hw, coarsest=8), rng)):
        assert field.shape == size_hw
        assert field.dtype == np.float32
        assert abs(float(field.mean())) < 0.2
        assert 0.8 < float(field.std()) < 1.2


def test_blobs_are_as_large_as_asked() -> None:
    def likeness(scale: float, apart: int) -> float:
        field = blobs(np.random.default_rng(2), (300, 300), scale)
        return float(np.corrcoef(field[:, :-apart].ravel(), field[:, apart:].ravel())[0, 1])

    assert likeness(20, 4) > 0.8
    assert likeness(4, 8) < 0.2


def test_white_cannot_be_written_into_so_that_the_stored_tile_stays_whole() -> None:
    field = white(np.random.default_rng(3), (10, 10))
    with pytest.raises(ValueError, match="read-only"):
        field += 1


def test_wave_has_its_count_and_is_smooth() -> None:
    line = wave(np.random.default_rng(4), 500, 50)
    assert line.shape == (500,)
    assert np.abs(np.diff(line)).max() < 0.2
