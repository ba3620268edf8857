"""Pictures that repeat themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.sources.freeze import FreezeWatch


def noisy(seed: int, *, height: int = 90, width: int = 40) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_a_picture_that_does_not_change() -> None:
    watch = FreezeWatch(2.0)
    watch.see(noisy(0), 0.0)
    watch.see(noisy(1), 1.0)
    seen = []
    for at_s in (2.0, 2.9, 3.0, 4.0):
        watch.see(noisy(1), at_s)
        seen.append(watch.frozen)
    assert seen == [False, False, True, True]
    assert watch.new_s == 1.0
    watch.see(noisy(2), 5.0)
    assert not watch.frozen
    assert watch.new_s == 5.0


@pytest.mark.parametrize("circle", [2, 5, 16])
def test_a_ring_of_buffers_that_goes_round(circle: int) -> None:
    watch = FreezeWatch(2.0)
    for number in range(100):
        watch.see(noisy(number % circle), number * 0.1)
    assert watch.frozen


@given(st.integers(1, 300), st.integers(1, 40), st.integers(0, 1000))
def test_noise_is_never_frozen(height: int, width: int, seed: int) -> None:
    watch = FreezeWatch(1.0)
    image = noisy(seed, height=height, width=width)
    for number in range(4):
        watch.see(image, number * 10.0)
        assert not watch.frozen
        image = image + np.uint8(1)  # every value, as the noise of a sensor nearly does


def test_nothing_is_noticed_where_nobody_asks() -> None:
    watch = FreezeWatch(0.0)
    for at_s in range(100):
        watch.see(noisy(1), float(at_s))
    assert not watch.frozen
