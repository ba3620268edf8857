from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("keras", reason="the workstation's packages are not installed")

from crackedge.edge_runtime.errors import DataError, ModelError
from crackedge.edge_runtime.models.card import ModelCard, split_card
from crackedge.train.lineage import Lineage, lineage

CardOf = Callable[..., ModelCard]
WriteModel = Callable[..., Path]


def _set(name: str, licence: str = "CC0", **more: Any) -> dict[str, Any]:
    return {"name": name, "photographs": 12, "licence": licence, "source": f"where {name} is", **more}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_run(folder: Path, *sets: Mapping[str, Any], **more: Any) -> Path:
    """A run's folder, but for a network inside its network's file, which nobody looks into."""
    folder.mkdir()
    config = {"recipe": {"name": folder.name}, "sets": sets, "weights": None, **more}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.keras").write_bytes(folder.name.encode())
    return folder / "model.keras"


def _named(found: Lineage) -> list[tuple[str, str | None]]:
    return [(one["name"], one.get("of")) for one in found.models]


def _taught(found: Lineage) -> list[tuple[str, str]]:
    return [(one["name"], one["model"]) for one in found.data_sets]


@pytest.mark.parametrize("weights", [None, "imagenet", "mobilenet_v2_0.35_224_imagenet_no_top.h5"])
def test_weights_of_a_backbone_have_no_lineage(weights: str | None) -> None:
    assert lineage(weights, "") == Lineage()


def test_a_file_s_card_tells(write_model: WriteModel, card: CardOf) -> None:
    trained = {"epochs": 3, "steps": 1500}
    sets = (_set("metu", used_for="training"), {"name": "site", "used_for": "calibration", "photographs": 5})
    path = write_model("logit-map-int8", card=card(data_sets=sets, training=trained, notes="Pretrained weights: x.h5"))
    found = lineage(str(path), "", sets=[_set("bridge")])
    flatbuffer, read = split_card(path.read_bytes(), origin="tiny")
    assert read is not None
    assert found.models == (
        {
            "role": "weights",
            "name": "tiny",
            "sha256": hashlib.sha256(flatbuffer).hexdigest(),
            "training": trained,
            "notes": "Pretrained weights: x.h5",
        },
    )
    assert found.data_sets == ({**_set("metu", used_for="training"), "model": "tiny"},), "calibration is made anew"


def test_a_run_s_config_tells_and_what_was_before_it(tmp_path: Path, write_model: WriteModel, card: CardOf) -> None:
    older = card(name="old", data_sets=(_set("quay", "CC BY-SA 4.0"),))
    sha256 = "12"
    before = {"role": "weights", "name": "oldest", "sha256": sha256, "notes": ""}
    first = lineage(str(write_model("logit-map-int8", card=ModelCard(**{**_fields(older), "lineage": (before,)}))), "")
    told = {"models": first.models, "data_sets": first.data_sets}
    network = _write_run(tmp_path / "middle", _set("metu"), weights="old.tflite", lineage=told, training={"steps": 8})
    found = lineage(str(network), "")
    assert _named(found) == [("middle", None), ("old", "middle"), ("oldest", "old")]
    assert found.models[0]["sha256"] == _sha256(network)
    assert found.models[0]["training"] == {"steps": 8}
    assert found.models[0]["notes"] == "Pretrained weights: old.tflite"
    assert _taught(found) == [("metu", "middle"), ("quay", "old")]
    assert [one["used_for"] for one in found.data_sets if one["name"] == "metu"] == ["training"]


def _fields(card: ModelCard) -> dict[str, Any]:
    return {name: getattr(card, name) for name in card.__dataclass_fields__}


def test_a_teacher_s_data_count_too_and_each_set_once(tmp_path: Path, write_model: WriteModel, card: CardOf) -> None:
    sets = (_set("metu"), _set("walls"), _set("bridge", "CC BY 4.0"))
    weights = write_model("logit-map-int8", card=card(name="small", data_sets=sets))
    teacher = _write_run(tmp_path / "large", _set("walls"), _set("quay"))
    found = lineage(str(weights), str(teacher), sets=[_set("metu"), _set("bridge")])
    assert [(one["role"], one["name"]) for one in found.models] == [("weights", "small"), ("teacher", "large")]
    assert _taught(found) == [("walls", "small"), ("bridge", "small"), ("quay", "large")]
    assert found.data_sets[1]["licence"] == "CC BY 4.0", "of other terms than the run's own: both are listed"


@pytest.mark.parametrize("beside", [None, '{"architectures": ["somebody else\'s"]}'])
def test_what_nobody_tells_is_said_to_be_unknown(tmp_path: Path, write_model: WriteModel, beside: str | None) -> None:
    (tmp_path / "theirs.keras").write_bytes(b"network")
    if beside:
        (tmp_path / "config.json").write_text(beside)
    bare = write_model("logit-map-float")
    found = lineage(str(bare), str(tmp_path / "theirs.keras"))
    assert [(one["name"], one["sha256"]) for one in found.models] == [
        (bare.stem, _sha256(bare)),
        ("theirs", _sha256(tmp_path / "theirs.keras")),
    ]
    assert all("what it learnt from is not known" in one["notes"] for one in found.models)
    assert found.data_sets == ()


def test_an_older_run_tells_by_the_file_that_it_began_with(tmp_path: Path) -> None:
    """While that is still the same: a folder may have been made anew, even from this very run."""
    first = _write_run(tmp_path / "first", _set("metu"))
    began = {"weights": "model.keras", "weights_from": str(first), "weights_sha256": _sha256(first)}
    second = _write_run(tmp_path / "second", _set("quay"), **began)
    assert _taught(lineage(str(second), "")) == [("quay", "second"), ("metu", "first")]
    first.write_bytes(b"another")
    assert _named(lineage(str(second), "")) == [("second", None)]


def test_what_cannot_be_read_is_named(tmp_path: Path, write_model: WriteModel, card: CardOf) -> None:
    network = _write_run(tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"run: not the folder of a training run"):
        lineage(str(network), "")
    path = write_model("logit-map-int8", card=card())
    path.write_bytes(b"x" + path.read_bytes()[1:])
    with pytest.raises(ModelError, match="sha256"):
        lineage(str(path), "")
