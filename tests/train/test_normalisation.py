from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("keras", reason="the workstation's packages are not installed")

import keras

from crackedge.train.normalisation import take_statistics


@pytest.fixture
def network() -> keras.Model:
    features = keras.Input((None, None, 3))
    backbone = keras.Model(features, keras.layers.BatchNormalization(name="norm")(features), name="backbone")
    pixels = keras.Input((None, None, 3))
    return keras.Model(pixels, backbone(pixels))


def _norm(network: keras.Model) -> Any:
    return network.get_layer("backbone").get_layer("norm")


def _batches() -> list[npt.NDArray[np.float32]]:
    rng = np.random.default_rng(4)
    return [
        rng.normal(mean, deviation, (2, 8, 8, 3)).astype(np.float32) for mean, deviation in ((40, 3), (90, 8), (50, 1))
    ]


def test_each_batch_has_one_voice_and_what_was_there_none(network: keras.Model) -> None:
    norm, batches = _norm(network), _batches()
    norm.momentum = 0.97
    take_statistics(network, batches)
    means = np.mean([batch.mean((0, 1, 2)) for batch in batches], axis=0)
    variances = np.mean([batch.var((0, 1, 2)) for batch in batches], axis=0)
    assert np.asarray(norm.moving_mean) == pytest.approx(means, rel=1e-4)
    assert np.asarray(norm.moving_variance) == pytest.approx(variances, rel=1e-3)
    assert norm.momentum == 0.97


def test_what_is_frozen_stays_and_nothing_is_drawn_for_it(network: keras.Model) -> None:
    left = iter(_batches())
    _norm(network).trainable = False
    take_statistics(network, left)
    assert len(list(left)) == 3
    assert np.asarray(_norm(network).moving_mean) == pytest.approx(np.zeros(3))


def test_a_batch_that_cannot_be_drawn_leaves_the_momentum(network: keras.Model) -> None:
    def drawn() -> Iterator[Any]:
        yield _batches()[0]
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011  whatever it was
        take_statistics(network, drawn())
    assert _norm(network).momentum == 0.99
