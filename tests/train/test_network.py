from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("keras", reason="the workstation's packages are not installed")

import keras

from crackedge.edge_runtime.errors import OptionError
from crackedge.train.backbones import BACKBONES
from crackedge.train.fit import fit
from crackedge.train.network import MapLoss, build_network, training_model, unfreeze
from crackedge.train.recipe import Recipe

SMALL = Recipe("small", backbone="mobilenetv3small_minimalistic", alpha=0.35)
# Where Keras keeps what each network was pretrained with.
OWN = {"resnet50": "resnet50", "vgg16": "vgg16", "resnet50v2": "resnet_v2", "mobilenetv2": "mobilenet_v2"}


def _pixels() -> npt.NDArray[np.float32]:
    return np.random.default_rng(3).integers(0, 256, (1, 96, 64, 3)).astype(np.float32)


def _as_pretrained(backbone: str) -> npt.NDArray[np.float32]:
    """By Keras' own functions; two networks of theirs do it inside, and their functions nothing."""
    if backbone == "efficientnetb0":
        images = importlib.import_module("keras.applications.imagenet_utils")
        return np.asarray(images.preprocess_input(_pixels(), mode="torch"), np.float32)
    module = importlib.import_module(f"keras.applications.{OWN.get(backbone, 'mobilenet_v2')}")
    return np.asarray(module.preprocess_input(_pixels()), np.float32)


def _normalisations(network: keras.Model) -> list[Any]:
    return [
        layer for layer in network.get_layer("backbone").layers if isinstance(layer, keras.layers.BatchNormalization)
    ]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_gives_a_logit_for_each_cell_and_learns(backbone: str) -> None:
    network = build_network(Recipe("any", backbone=backbone), weights=None)
    assert network.output.name.startswith("keras_tensor")
    assert network.layers[-1].name == "logit_map"
    logits = np.asarray(network(_pixels(), training=False))
    assert logits.shape == (1, 3, 2, 1)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()

    scaled = np.asarray(network.get_layer("scale")(_pixels()))
    assert scaled == pytest.approx(_as_pretrained(backbone), abs=1e-4)

    every = len(network.trainable_weights)
    unfreeze(network, train_from="", batch_norm="frozen")
    assert not any(layer.trainable for layer in _normalisations(network))
    assert len(network.trainable_weights) == every - 2 * len(_normalisations(network))
    unfreeze(network, train_from="", batch_norm="train")
    assert len(network.trainable_weights) == every
    last = network.get_layer("backbone").layers[-6].name
    unfreeze(network, train_from=last, batch_norm="train")
    assert 2 <= len(network.trainable_weights) < every
    assert not network.get_layer("backbone").layers[1].trainable


def test_unit_preprocessing_is_what_notebooks_do() -> None:
    network = build_network(dataclasses.replace(SMALL, preprocessing="unit"), weights=None)
    assert np.asarray(network.get_layer("scale")(_pixels())) == pytest.approx(_pixels() / 255)


def test_weights_come_from_a_file(tmp_path: Path) -> None:
    first = build_network(SMALL, weights=None)
    file = tmp_path / "backbone.weights.h5"
    first.get_layer("backbone").save_weights(file)
    second = build_network(SMALL, weights=file)
    for ours, theirs in zip(
        second.get_layer("backbone").get_weights(), first.get_layer("backbone").get_weights(), strict=True
    ):
        assert (ours == theirs).all()
    with pytest.raises(OptionError, match=r"backbone\.weights\.h5: not those of mobilenetv3small_minimalistic_0\.5"):
        build_network(dataclasses.replace(SMALL, alpha=0.5), weights=file)
    (tmp_path / "broken.h5").write_bytes(b"no archive")
    with pytest.raises(OptionError, match=r"broken\.h5"):
        build_network(SMALL, weights=tmp_path / "broken.h5")


def test_efficientnet_from_a_file_computes_as_keras_means_it(tmp_path: Path) -> None:
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    published = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(None, None, 3))
    normalise = next(layer for layer in published.layers if isinstance(layer, keras.layers.Normalization))
    normalise.set_weights([mean, deviation, np.array(0)])  # as published: a deviation in place of the variance
    published.save_weights(tmp_path / "efficientnet.weights.h5")
    normalise.set_weights([mean, deviation**2, np.array(0)])
    normalise.finalize_state()
    network = build_network(Recipe("any", backbone="efficientnetb0"), weights=tmp_path / "efficientnet.weights.h5")
    features = np.asarray(network.get_layer("backbone")(network.get_layer("scale")(_pixels()), training=False))
    theirs = np.asarray(published(_pixels(), training=False))
    assert features == pytest.approx(theirs, abs=1e-3 * float(np.abs(theirs).max()))


def test_an_earlier_run_must_be_of_the_same_network(tmp_path: Path) -> None:
    build_network(SMALL, weights=None).save(tmp_path / "model.keras")
    assert build_network(SMALL, weights=tmp_path / "model.keras").name == "mobilenetv3small_minimalistic_0.35"
    with pytest.raises(OptionError, match=r"_0\.35_unit"):
        build_network(dataclasses.replace(SMALL, preprocessing="unit"), weights=tmp_path / "model.keras")


def test_weights_without_internet_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: Any, **__: Any) -> None:
        raise Exception("URL fetch failure on https://storage.googleapis.com: no route")  # as Keras says it

    monkeypatch.setattr(keras.applications, "MobileNetV3Small", fetch)
    with pytest.raises(OptionError, match=r"'imagenet' cannot be downloaded .* give a file or 'none'"):
        build_network(SMALL, weights="imagenet")


def test_a_block_that_does_not_exist_is_refused_before_training() -> None:
    with pytest.raises(OptionError, match=r"train_from 'block_99'.*conv"):
        build_network(dataclasses.replace(SMALL, train_from="block_99"), weights=None)


def test_a_teacher_is_looked_at_and_left_alone(tmp_path: Path) -> None:
    teacher = build_network(dataclasses.replace(SMALL, alpha=0.5), weights=None)
    teacher.save(tmp_path / "teacher.keras")
    network = build_network(SMALL, weights=None)
    model = training_model(network, teacher=tmp_path / "teacher.keras")
    pixels = np.random.default_rng(4).integers(0, 256, (2, 224, 224, 3)).astype(np.float32)
    seen = np.asarray(model(pixels, training=True))
    assert seen.shape == (2, 7, 7, 3)
    assert seen[..., 2:] == pytest.approx(teacher.predict_on_batch(pixels), abs=1e-5)
    assert len(model.trainable_weights) == len(network.trainable_weights) + 2  # those of the calibration


def test_labelled_windows_learn_from_label_and_teacher_and_the_others_from_the_teacher() -> None:
    rng = np.random.default_rng(5)
    seen = rng.normal(size=(1, 7, 8, 3)).astype(np.float32)  # two windows
    truth = np.zeros((1, 7, 8, 4), np.float32)
    truth[0, 0, 0] = (1, 1, 0, 0)  # nothing is known of the second
    means = np.stack([seen[0, :, column : column + 7].mean((0, 1)) for column in (0, 1)])
    logits, opinions = means[:, 0], 1 / (1 + np.exp(-means[:, 2]))
    labelled = np.log1p(np.exp(logits[0])) - logits[0]
    taught = np.mean(np.log1p(np.exp(logits)) - opinions * logits)
    for share in (0.0, 0.25, 1.0):
        expected = (1 - share) * labelled + share * taught
        assert float(MapLoss(teacher_share=share)(truth, seen)) == pytest.approx(expected, rel=1e-5)


def test_a_teacher_that_cannot_teach_is_named(tmp_path: Path) -> None:
    network = build_network(SMALL, weights=None)
    with pytest.raises(OptionError, match=r"teacher nowhere\.keras: no such file"):
        training_model(network, teacher="nowhere.keras")
    (tmp_path / "broken.keras").write_bytes(b"no archive")
    with pytest.raises(OptionError, match=r"teacher .*broken\.keras: Keras cannot read it"):
        training_model(network, teacher=tmp_path / "broken.keras")
    network.save(tmp_path / "damaged.keras")
    data = bytearray((tmp_path / "damaged.keras").read_bytes())
    data[len(data) // 2] ^= 255
    (tmp_path / "damaged.keras").write_bytes(data)
    with pytest.raises(OptionError, match=r"teacher .*damaged\.keras: Keras cannot read it \(Bad CRC"):
        training_model(network, teacher=tmp_path / "damaged.keras")
    pixels = keras.Input((None, None, 3))
    keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(pixels)).save(tmp_path / "pooled.keras")
    with pytest.raises(OptionError, match=r"pooled\.keras: it does not end in a logit map"):
        training_model(network, teacher=tmp_path / "pooled.keras")


def test_a_run_with_a_teacher_hands_over_the_pupil_alone(photographs: Path, tmp_path: Path) -> None:
    build_network(dataclasses.replace(SMALL, alpha=0.5), weights=None).save(tmp_path / "teacher.keras")
    recipe = dataclasses.replace(
        SMALL, teacher=str(tmp_path / "teacher.keras"), canvas_px=224, batch=2, steps_per_epoch=1, epochs=0
    )
    fit(photographs, tmp_path / "run", recipe)
    pupil = build_network(SMALL, weights=tmp_path / "run" / "model.keras")
    assert [layer.name for layer in pupil.layers] == ["pixels", "scale", "backbone", "logit_map"]
    with pytest.raises(OptionError, match=r"teacher gone\.keras"):
        fit(photographs, tmp_path / "other", dataclasses.replace(recipe, teacher="gone.keras"))
    assert not (tmp_path / "other").exists()
