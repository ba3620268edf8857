"""Rounding in turn: on the grid, with less effect than rounding each for itself, and gone after the block."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackedge.export.convert import convert
from crackedge.export.rounding import LEVELS, round_rows, rounded
from crackedge.train.folded import read_convolutions

SIZE = st.integers(1, 12)
PICTURES = [np.random.default_rng(number).integers(0, 256, (224, 224, 3)).astype(np.uint8) for number in range(6)]


def plainly(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    step = np.abs(rows).max(1, keepdims=True) / LEVELS
    return np.asarray(np.round(rows / step) * step)


@given(seed=st.integers(0, 2**32 - 1), shape=st.tuples(SIZE, SIZE), each=st.booleans(), dead=st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_weight_is_on_its_rows_grid_and_the_largest_stays(
    seed: int, shape: tuple[int, int], each: bool, dead: bool
) -> None:
    outputs, inputs = shape
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(outputs, inputs)) * rng.lognormal(size=(outputs, 1), sigma=3)
    seen = rng.normal(size=(outputs if each else 1, 50, inputs)) * (not dead)
    if outputs > 1:
        rows[0] = 0
    found = round_rows(rows, seen.swapaxes(1, 2) @ seen)
    step = np.abs(rows).max(1, keepdims=True) / LEVELS
    step[step == 0] = 1
    assert found / step == pytest.approx(np.round(found / step), abs=1e-6)
    assert np.abs(found).max(1) == pytest.approx(np.abs(rows).max(1))
    peak = np.abs(rows).argmax(1)[:, None]
    assert (np.take_along_axis(found, peak, 1) == np.take_along_axis(rows, peak, 1)).all()


def test_inputs_that_do_not_hang_together_are_rounded_each_for_itself() -> None:
    rows = np.random.default_rng(1).normal(size=(4, 9))
    assert round_rows(rows, np.eye(9)[None]) == pytest.approx(plainly(rows))


def test_inputs_that_do_lose_far_less() -> None:
    rng = np.random.default_rng(2)
    inputs = rng.normal(size=(4000, 6)) @ rng.normal(size=(6, 48)) + 0.1 * rng.normal(size=(4000, 48))
    rows = rng.normal(size=(16, 48))

    def loss(found: npt.NDArray[Any]) -> float:
        return float(np.square(inputs @ (found - rows).T).mean())

    assert loss(round_rows(rows, (inputs.T @ inputs)[None])) < 0.3 * loss(plainly(rows))


def network() -> keras.Model:
    """A convolution, a depthwise one with stride inside a nested model, one in groups, and a head."""
    keras.utils.set_random_seed(3)
    inner_in = keras.Input((None, None, 8))
    inner = keras.layers.DepthwiseConv2D(3, strides=2, padding="same", name="deep")(inner_in)
    inner = keras.Model(inner_in, keras.layers.BatchNormalization(name="normal")(inner), name="inner")
    pixels = keras.Input((None, None, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, -1.0, name="scale")(pixels)
    features = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="first")(scaled)
    features = keras.layers.Conv2D(8, 1, groups=2, name="groups")(inner(features))
    return keras.Model(pixels, keras.layers.Conv2D(1, 1, name="head")(features))


def test_the_network_is_rounded_inside_the_block_only() -> None:
    model = network()
    before = model.get_weights()
    inside = []

    def fail_inside() -> None:
        with rounded(model, PICTURES):
            inside.extend(model.get_weights())
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert all((one == other).all() for one, other in zip(before, model.get_weights(), strict=True))
    changed = [bool((one != other).any()) for one, other in zip(before, inside, strict=True)]
    assert sum(changed) == 3, "first, deep and head; neither biases, nor normalisation, nor groups"
    assert "call" not in vars(model.get_layer("first")), "nobody looks any more"


def test_the_converter_finds_the_kernels_on_its_grid() -> None:
    model = network()
    with rounded(model, PICTURES):
        expected = [model.get_layer("first").get_weights()[0], model.get_layer("head").get_weights()[0]]
        made = convert(model, variant="int8", head="logit-map", pictures=PICTURES, log=lambda _: None)
    found = [one.kernel for one in read_convolutions(made)]
    for kernel in expected:
        near = [one for one in found if one.shape == kernel.shape]
        assert any(one == pytest.approx(kernel, abs=1e-6) for one in near)


def test_a_rounded_network_says_nearly_what_it_said() -> None:
    model = network()
    seen = np.stack(PICTURES).astype(np.float32)
    said = np.asarray(model(seen))
    with rounded(model, PICTURES):
        assert np.asarray(model(seen)) == pytest.approx(said, abs=0.03 * float(said.std()))
