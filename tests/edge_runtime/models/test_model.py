from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crackedge.edge_runtime.errors import CrackedgeError, ModelError, OptionError
from crackedge.edge_runtime.models.card import SCHEMA, ModelCard, append_card
from crackedge.edge_runtime.models.model import DEFAULT_MODEL, open_model, shipped_models

WriteModel = Callable[..., Path]


def test_a_model_with_a_card(tiny_model: Path, card: Callable[..., ModelCard]) -> None:
    model = open_model(tiny_model)
    assert model.name == "tiny"
    assert model.path == tiny_model
    assert model.has_card
    assert model.card.backbone == card().backbone
    assert model.sha256 == hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    assert model.card.sha256 == hashlib.sha256(model.flatbuffer).hexdigest()
    assert tiny_model.read_bytes().startswith(model.flatbuffer)
    assert open_model(str(tiny_model)).sha256 == model.sha256


def test_a_model_without_a_card_is_named_after_its_file(write_model: WriteModel) -> None:
    model = open_model(write_model("classifier"))
    assert not model.has_card
    assert (model.name, model.card.head, model.card.quantization) == ("classifier", "probability", "uint8")
    assert model.crack_index == 1
    assert model.input_range is None


def test_what_a_classifier_needs_said(write_model: WriteModel) -> None:
    path = write_model("classifier", dtype="float32", columns=2)
    model = open_model(path, input_range="-1..1", crack_index=0)
    assert (model.input_range, model.crack_index) == ((-1.0, 1.0), 0)


@pytest.mark.parametrize("name", shipped_models() or [pytest.param("none", marks=pytest.mark.skip("none shipped yet"))])
def test_shipped_models_open_by_name(name: str) -> None:
    model = open_model(name)
    assert model.name == name
    assert model.has_card
    assert model.card.data_sets
    assert model.card.metrics
    assert all(data_set["licence"] for data_set in model.card.data_sets)


def test_the_default_is_shipped_and_small() -> None:
    if not shipped_models():
        pytest.skip("none shipped yet")
    assert DEFAULT_MODEL in shipped_models()
    assert open_model().path.stat().st_size <= 1_000_000


def refused(path: Path | str, error: type[CrackedgeError] = ModelError, **options: Any) -> str:
    with pytest.raises(error) as caught:
        open_model(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_name_or_file_that_is_not_there(tmp_path: Path) -> None:
    assert refused("giant").startswith("giant: no such model file, and no shipped model of that name (shipped: ")
    assert "absent.tflite: no such model file" in refused(tmp_path / "absent.tflite")
    assert refused(tmp_path).endswith(": a folder; expected a .tflite file")


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n" + bytes(1000), b"import this\n"])
def test_a_foreign_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(data)
    assert refused(path).startswith(f"{path}: not a TFLite file")


def test_a_copy_that_broke_off(tiny_model: Path, tmp_path: Path) -> None:
    data, flatbuffer = tiny_model.read_bytes(), open_model(tiny_model).flatbuffer
    path = tmp_path / "m.tflite"
    path.write_bytes(data[: len(flatbuffer) // 2])
    assert "cannot read it" in refused(path)
    path.write_bytes(data[:-10])
    assert refused(path) == f"{path}: its model card is cut off; copy the file again"


def test_a_damaged_file(tiny_model: Path, tmp_path: Path) -> None:
    data = bytearray(tiny_model.read_bytes())
    data[len(open_model(tiny_model).flatbuffer) // 2] ^= 1
    path = tmp_path / "m.tflite"
    path.write_bytes(data)
    assert "the file's sha256 is not the one in its card; it is damaged, copy it again" in refused(path)


def test_a_card_of_a_newer_schema(write_model: WriteModel, card: Callable[..., ModelCard]) -> None:
    path = write_model("logit-map-int8", card=card(schema=SCHEMA + 1))
    assert refused(path).endswith("upgrade crackedge")


def test_a_logit_map_without_its_card(write_model: WriteModel) -> None:
    message = refused(write_model("logit-map-int8"))
    assert "no model card, and its network is (1, 224, 224, 3) uint8 to (1, 7, 7, 1)" in message
    assert "expected a file that `crackedge export` made, or a classifier of (N, 224, 224, 3)" in message


@pytest.mark.parametrize(
    ("network", "found"),
    [({"edge": 96}, "(1, 96, 96, 3) uint8 to (1, 1)"), ({"columns": 3}, "(1, 224, 224, 3) uint8 to (1, 3)")],
)
def test_classifiers_of_another_signature(write_model: WriteModel, network: dict[str, Any], found: str) -> None:
    assert found in refused(write_model("classifier", **network))


def test_a_card_that_is_not_about_its_network(write_model: WriteModel, card: Callable[..., ModelCard]) -> None:
    assert "a logit map has input" in refused(write_model("classifier", card=card()))
    assert "its card says a classifier" in refused(write_model("logit-map-int8", card=card(head="probability")))
    assert "head 'boxes' in its card" in refused(write_model("logit-map-int8", card=card(head="boxes")))
    assert "a logit map has input (N, H, W, 3) int16" in refused(
        write_model("logit-map-int8", card=card(input_dtype="int16"))
    )
    assert "a logit map has input (N, H, W, 3) uint8" in refused(write_model("logit-map-int16", card=card()))
    assert "tile 160 and stride 32 px" in refused(write_model("logit-map-int8", card=card(tile=160)))


def test_a_card_says_what_a_float_input_takes(write_model: WriteModel, card: Callable[..., ModelCard]) -> None:
    told = card(head="probability", input_dtype="float32")
    assert open_model(write_model("classifier", card=told, dtype="float32")).input_range == (0.0, 255.0)


def test_what_must_be_said_and_what_must_not(write_model: WriteModel, tiny_model: Path) -> None:
    def optionally(path: Path, **options: Any) -> str:
        return refused(path, OptionError, **options)

    floats = write_model("classifier", dtype="float32")
    assert "say what its pixels run from and to: 0..1, -1..1, 0..255" in optionally(floats)
    assert "input_range '0-1'" in optionally(floats, input_range="0-1")
    two = write_model("classifier", columns=2)
    assert "two outputs: say which is the crack: crack_index 0 or 1" in optionally(two)
    assert "crack_index 2; expected 0 or 1" in optionally(two, crack_index=2)
    assert "its input is uint8" in optionally(two, crack_index=1, input_range="0..1")
    assert "its card says how to run it" in optionally(tiny_model, crack_index=1)


def test_a_flatbuffer_with_another_archive_behind_it_has_no_card(write_model: WriteModel) -> None:
    path = write_model("classifier")
    data = append_card(path.read_bytes(), ModelCard(name="n")).replace(b"crackedge.json", b"labels_txt.zip")
    path.write_bytes(data)
    model = open_model(path)
    assert not model.has_card
    assert model.flatbuffer == data
