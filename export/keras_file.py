"""A model out of a file of Keras, be it of Keras 3 or, as most notebooks have left it, of Keras 2."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import keras

from crackedge.edge_runtime.errors import ModelError


def load(path: Path) -> keras.Model:
    """The model of a ``.keras`` or ``.h5`` file, all of it computing in float32.

    Raises:
        ModelError: the file is missing, or Keras cannot read it; one line says why.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file; give a folder that `crackedge train` made, or a .keras or .h5 file")
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise ModelError(f"{path}: expected a folder that `crackedge train` made, or a .keras or .h5 file")
    try:
        with warnings.catch_warnings(action="ignore"), tempfile.TemporaryDirectory() as folder:
            readable = path
            if _is_of_keras_2(path):
                readable = Path(folder) / path.name
                _translate(path, readable)
            model = keras.models.load_model(readable, compile=False)
    except Exception as error:  # a foreign file can fail anywhere in Keras
        raise ModelError(f"{path}: {_unreadable(' '.join(str(error).split()))}") from error
    for layer in model._flatten_layers():
        if layer.dtype_policy.name.startswith("mixed"):  # which is for training
            layer.dtype_policy = keras.DTypePolicy("float32")
    return model


def _unreadable(message: str) -> str:
    """What Keras' message about a file means for its owner."""
    version = keras.__version__
    unknown = re.search(r"(?:Could not locate \w+|Unknown [\w ]+:?) '([^']+)'", message)
    if unknown and "OpLambda" in unknown[1]:
        return (
            f"holds {unknown[1]!r}, a calculation between layers of Keras 2, which Keras {version} does not know; put "
            "a Rescaling layer in its place and save it again, or save it without its preprocessing and give "
            "--input-range"
        )
    if unknown:
        return f"holds {unknown[1]!r}, which Keras {version} does not know; only its own layers can be exported"
    if "`Lambda` layer" in message:
        return "holds a Lambda layer, program code that is not run; put a Keras layer in its place and save it again"
    if "No model config" in message:
        return "holds weights alone; save the whole model with model.save()"
    return f"Keras {version} cannot read it ({message[:200]})"


def _is_of_keras_2(path: Path) -> bool:
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            version = json.loads(archive.read("metadata.json"))["keras_version"]
    else:
        with h5py.File(path) as file:
            version = file.attrs.get("keras_version", "2")
    return str(version).startswith("2")


def _translate(path: Path, copy: Path) -> None:
    """Write a copy of a file of Keras 2 whose layers Keras 3 can read."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as out:
            for name in archive.namelist():
                data = archive.read(name)
                out.writestr(name, _translated(data) if name == "config.json" else data)
        return
    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        if "model_config" in file.attrs:
            file.attrs["model_config"] = _translated(file.attrs["model_config"])


def _translated(text: str | bytes) -> str:
    return json.dumps(json.loads(text, object_hook=_in_new_words))


def _in_new_words(value: dict[str, Any]) -> dict[str, Any]:
    """A layer's description without what Keras 3 refuses in it; anything else as it is."""
    name, config = value.get("class_name"), value.get("config")
    if not isinstance(config, dict):
        return value
    config.pop("rng_type", None)  # of augmentation
    if name != "InputLayer":
        config.pop("batch_input_shape", None)
    if name == "DepthwiseConv2D":
        config.pop("groups", None)
    if name == "BatchNormalization" and isinstance(config.get("axis"), list):
        (config["axis"],) = config["axis"]
    if name in ("Functional", "Model"):
        _rewire(config)
        if "module" in value:
            value["module"] = "keras.src.models.functional"
    return value


def _rewire(graph: dict[str, Any]) -> None:
    """Count as Keras 3 does: a single input or output is no list, and a model's first call is its call number 0."""
    models = {
        layer["config"]["name"]
        for layer in graph["layers"]
        if any(inner["class_name"] == "InputLayer" for inner in layer["config"].get("layers", ()))
    }
    calls = [call for layer in graph["layers"] for node in layer["inbound_nodes"] for call in node]
    for call in (*calls, *graph["output_layers"]):
        if isinstance(call, list) and call[0] in models:
            call[1] -= 1
    for ends in ("input_layers", "output_layers"):
        if len(graph[ends]) == 1:
            (graph[ends],) = graph[ends]
