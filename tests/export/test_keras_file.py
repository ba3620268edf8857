from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="the workstation's packages are not installed")

import h5py  # type: ignore[import-untyped]
import keras
from keras import layers

from crackedge.edge_runtime.errors import ModelError
from crackedge.export.origin import open_origin


def _network() -> Any:
    """A small backbone in a classifier, as the tutorials of transfer learning wire it."""
    pixels = keras.Input((224, 224, 3))
    strided = layers.Conv2D(4, 8, strides=8)(pixels)
    normalised = layers.BatchNormalization(axis=3)(strided)
    backbone = keras.Model(pixels, layers.DepthwiseConv2D(4, strides=4, activation="tanh")(normalised), name="net")
    outside = keras.Input((224, 224, 3))
    features = backbone(layers.RandomFlip()(outside), training=False)
    return keras.Model(outside, layers.Dense(1)(layers.GlobalAveragePooling2D()(features)))


def _in_old_words(text: bytes | str) -> str:
    """A configuration as Keras 2.15 wrote it."""

    def hook(value: dict[str, Any]) -> dict[str, Any]:
        config, name = value.get("config"), value.get("class_name")
        if not isinstance(config, dict):
            return value
        if name == "BatchNormalization":
            config["axis"] = [config["axis"]]
        if name == "DepthwiseConv2D":
            config["groups"] = 1
        if name == "RandomFlip":
            config["rng_type"] = "stateful"
        if name == "Conv2D":
            config["batch_input_shape"] = [None, 224, 224, 3]
        if name == "Functional":
            value["module"] = "keras.src.engine.functional"
            config["input_layers"], config["output_layers"] = [config["input_layers"]], [config["output_layers"]]
            for layer in config["layers"]:
                layer["inbound_nodes"] = [_call(node) for node in layer["inbound_nodes"]]
        return value

    def _call(node: dict[str, Any]) -> list[Any]:
        name, number, tensor = node["args"][0]["config"]["keras_history"]
        return [[name, number + (name == "net"), tensor, {"training": False} if name == "random_flip" else {}]]

    return json.dumps(json.loads(text, object_hook=hook))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_files_of_keras_2(tmp_path: Path, suffix: str) -> None:
    keras.utils.set_random_seed(2)
    network = _network()
    saved, old = tmp_path / f"new.{suffix}", tmp_path / f"old.{suffix}"
    network.save(saved)
    if suffix == "h5":
        with h5py.File(saved, "r+") as file:
            file.attrs["model_config"] = _in_old_words(file.attrs["model_config"])
            file.attrs["keras_version"] = "2.15.0"
        saved.rename(old)
    else:
        with zipfile.ZipFile(saved) as archive, zipfile.ZipFile(old, "w") as out:
            out.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
            out.writestr("config.json", _in_old_words(archive.read("config.json")))
            out.writestr("model.weights.h5", archive.read("model.weights.h5"))
    with pytest.raises((TypeError, ValueError)):
        keras.models.load_model(old, compile=False)

    pictures = np.random.default_rng(2).integers(0, 256, (3, 224, 224, 3)).astype(np.float32)
    opened = open_origin(old, input_range="0..1")
    maps = np.asarray(opened.network(pictures))
    assert maps.mean((1, 2, 3)) == pytest.approx(np.asarray(network(pictures / 255, training=False))[:, 0], abs=1e-4)


def test_functions_called_on_layers_are_named(tmp_path: Path) -> None:
    """As preprocess_input inside a network of Keras 2, which left no layer that could be read."""
    with h5py.File(tmp_path / "old.h5", "w") as file:
        layer = {"class_name": "TFOpLambda", "config": {"name": "x", "function": "math.truediv"}, "name": "x"}
        graph = {"layers": [{**layer, "inbound_nodes": []}], "input_layers": [], "output_layers": [], "name": "m"}
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": graph})
        file.attrs["keras_version"] = "2.9.0"
    with pytest.raises(
        ModelError, match=r"'TFOpLambda'.*put a Rescaling layer in its place.*or save it without.*--input-range"
    ):
        open_origin(tmp_path / "old.h5")
