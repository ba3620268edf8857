from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("tensorflow", reason="the workstation's packages are not installed")

import keras

from crackedge.edge_runtime.errors import ModelError, OptionError
from crackedge.edge_runtime.lattice import TILE
from crackedge.edge_runtime.models.card import ModelCard, append_card, split_card
from crackedge.edge_runtime.models.golden import picture
from crackedge.edge_runtime.models.interpreter import Interpreter
from crackedge.edge_runtime.models.model import find_model
from crackedge.export.convert import convert
from crackedge.train.fit import fit
from crackedge.train.folded import read_convolutions
from crackedge.train.network import build_network, training_model
from crackedge.train.recipe import Recipe

SMALL = Recipe("small", backbone="mobilenetv3small_minimalistic", alpha=0.35)
NARROW = Recipe("narrow", backbone="mobilenetv2", alpha=0.35)
PICTURES = tuple(picture(seed, TILE, TILE) for seed in range(20, 28))

Export = Callable[[str], bytes]


def _export(network: keras.Model, variant: str) -> bytes:
    return convert(network, variant=variant, head="logit-map", pictures=PICTURES, log=lambda _: None)


def _logits(network: keras.Model) -> npt.NDArray[np.float32]:
    return np.asarray(network(np.stack(PICTURES).astype(np.float32), training=False))


def _correlation(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


@pytest.fixture(scope="module")
def small() -> keras.Model:
    """Untrained, but its normalisations are anything but the identity, and no cells look alike to its head."""
    keras.utils.set_random_seed(5)
    rng = np.random.default_rng(5)
    network = build_network(SMALL, weights=None)
    for layer in network.get_layer("backbone").layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # the next batch decides mean and variance
            layer.gamma.assign(rng.uniform(0.7, 1.4, layer.gamma.shape))
            layer.beta.assign(rng.normal(0, 0.5, layer.beta.shape))
    pixels = np.stack(PICTURES).astype(np.float32)
    network(pixels, training=True)
    features = np.asarray(network.get_layer("backbone")(network.get_layer("scale")(pixels)))
    features = features.reshape(-1, features.shape[-1])
    middle = features.mean(0)
    direction = np.linalg.svd(features - middle, full_matrices=False)[2][0]
    direction *= 3 / (features @ direction).std()
    network.layers[-1].set_weights([direction[None, None, :, None], np.array([-middle @ direction])])
    return network


@pytest.fixture(scope="module")
def exported(small: keras.Model) -> Export:
    """``exported(variant)``: the small network's flatbuffer."""
    return functools.cache(lambda variant: _export(small, variant))


@pytest.fixture
def small_file(exported: Export, tmp_path: Path) -> Path:
    path = tmp_path / "small.tflite"
    quay = {"name": "quay", "licence": "CC0", "source": "drawn"}
    card = ModelCard("small", backbone="mobilenetv3small_minimalistic alpha 0.35", data_sets=(quay,))
    path.write_bytes(append_card(exported("float32"), card))
    return path


@pytest.mark.parametrize(("variant", "off"), [("float32", 1e-3), ("float16", 0.1)])
def test_a_float_file_gives_its_network_back(
    small: keras.Model, exported: Export, tmp_path: Path, variant: str, off: float
) -> None:
    (tmp_path / "small.tflite").write_bytes(exported(variant))  # no card: it is the graph that counts
    again = build_network(SMALL, weights=tmp_path / "small.tflite")
    assert _logits(again) == pytest.approx(_logits(small), abs=off)


@pytest.mark.parametrize("variant", ["int8", "dynamic"])
def test_quantised_kernels_are_read_to_half_a_step(exported: Export, variant: str) -> None:
    exact = read_convolutions(exported("float32"))
    rounded = read_convolutions(exported(variant))
    for ours, theirs in zip(rounded, exact, strict=True):
        assert ours.kernel.shape == theirs.kernel.shape
        step = np.abs(theirs.kernel).max() / 127
        assert np.abs(ours.kernel - theirs.kernel).max() <= 0.51 * step
        assert ours.bias == pytest.approx(theirs.bias, abs=0.01)


def test_a_shipped_int8_file_becomes_its_network_and_comes_through_an_export_again(tmp_path: Path) -> None:
    network = build_network(NARROW, weights=find_model("nano"))
    logits = _logits(network)
    file = Interpreter(split_card(find_model("nano").read_bytes(), origin="nano")[0], threads=1, origin="nano")
    file.resize(1, TILE, TILE)
    theirs = []
    for image in PICTURES:
        file.pixel_writer()(image, file.input()[0])
        theirs.append(file.invoke()[0])
    assert _correlation(logits, np.stack(theirs)) > 0.99
    (tmp_path / "again.tflite").write_bytes(_export(network, "int8"))
    assert _correlation(_logits(build_network(NARROW, weights=tmp_path / "again.tflite")), logits) > 0.99


def test_every_channel_is_of_one_size_so_that_all_learn_at_one_rate(small_file: Path) -> None:
    network = build_network(SMALL, weights=small_file)
    layers = network.get_layer("backbone").layers
    found = [pair for pair in itertools.pairwise(layers) if isinstance(pair[1], keras.layers.BatchNormalization)]
    assert len(found) > 20
    for convolution, normalisation in found:
        _, _, mean, variance = normalisation.get_weights()
        assert (mean == 0).all()
        assert variance == pytest.approx(1 - normalisation.epsilon)
        size = (convolution.get_weights()[0].reshape(-1, mean.size) ** 2).sum(0)
        assert size == pytest.approx(0.5, rel=1e-4)


def test_the_calibration_begins_as_the_card_reads_the_logits() -> None:
    card = split_card(find_model("nano").read_bytes(), origin="nano")[1]
    assert card is not None
    dense = card.engine_calibration("dense")
    model = training_model(build_network(SMALL, weights=None), weights=find_model("nano"))
    log_scale, bias = model.get_layer("calibration").get_weights()
    assert np.exp(log_scale) == pytest.approx([dense.scale, dense.cell_scale], rel=1e-5)
    assert bias == pytest.approx([dense.bias, dense.cell_bias], rel=1e-5)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (
            dataclasses.replace(SMALL, batch_norm="train"),
            r"batch_norm = 'train'.*folded.*expected batch_norm = 'frozen'",
        ),
        (
            dataclasses.replace(SMALL, alpha=0.5),
            r"not those of mobilenetv3small_minimalistic_0\.5: the kernel of convolution \d+ is \(.*expected \(.*"
            r"its card says mobilenetv3small_minimalistic alpha 0\.35.*--alpha",
        ),
        (NARROW, r"not those of mobilenetv2_0\.35: .*mobilenetv3small_minimalistic alpha 0\.35; give the --recipe"),
        (Recipe("any", backbone="vgg16"), r"backbone = 'vgg16'.*mobilenetv2 and mobilenetv3small_minimalistic only"),
        (
            dataclasses.replace(SMALL, preprocessing="unit"),
            r"its weights fit .*_unit, but compute something else .* of their spread.*preprocessing",
        ),
    ],
)
def test_a_recipe_that_does_not_fit_the_file_is_told_why(small_file: Path, recipe: Recipe, words: str) -> None:
    with pytest.raises(OptionError, match=rf"weights .*small\.tflite: {words}"):
        build_network(recipe, weights=small_file)


def test_a_file_that_holds_no_such_network_is_refused(write_model: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"classifier\.tflite: gives \(1, 1\), not a logit map.*--head probability"):
        build_network(SMALL, weights=write_model("classifier"))
    with pytest.raises(OptionError, match=r"logit-map-int8\.tflite: not those of .* convolution"):
        build_network(SMALL, weights=write_model("logit-map-int8"))
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"no flatbuffer")
    with pytest.raises(ModelError, match=r"damaged\.tflite: not a TFLite file"):
        build_network(SMALL, weights=damaged)
    with pytest.raises(OptionError, match=r"weights gone\.tflite: no such file.*nano"):
        build_network(SMALL, weights="gone.tflite")


def test_a_run_begins_where_the_file_ends(small_file: Path, photographs: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(SMALL, canvas_px=224, batch=1, steps_per_epoch=1, head_epochs=0, epochs=1)
    recipe = dataclasses.replace(recipe, learning_rate=1e-9, train_from="expanded_conv_10")
    fit(photographs, tmp_path / "run", recipe, weights=small_file)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["weights"] == "small.tflite"
    assert config["weights_sha256"] == hashlib.sha256(small_file.read_bytes()).hexdigest()
    assert [(one["role"], one["name"]) for one in config["lineage"]["models"]] == [("weights", "small")]
    assert config["lineage"]["data_sets"] == [{"name": "quay", "licence": "CC0", "source": "drawn", "model": "small"}]
    assert config["training"]["steps"] == 1
    trained = build_network(SMALL, weights=tmp_path / "run" / "model.keras")
    assert _logits(trained) == pytest.approx(_logits(build_network(SMALL, weights=small_file)), abs=1e-3)


def test_shipped_models_are_known_by_their_names(photographs: Path, tmp_path: Path) -> None:
    for name, width in (("nano", "0.35"), ("base", "1")):
        with pytest.raises(
            OptionError, match=rf"{name}\.tflite: not those of .*its card says mobilenetv2 alpha {width};"
        ):
            fit(photographs, tmp_path / "run", SMALL, weights=name)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_it_needs_no_tensorflow_where_keras_has_another_backend(small_file: Path) -> None:
    pytest.importorskip("jax", reason="Keras' second backend is not installed")
    code = (
        "import sys; from crackedge.train.network import build_network; from crackedge.train.recipe import Recipe; "
        f"recipe = Recipe('small', backbone={SMALL.backbone!r}, alpha={SMALL.alpha}); "
        f"build_network(recipe, weights={str(small_file)!r}); "
        "assert 'tensorflow' not in sys.modules"
    )
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
