"""What a network learnt before: the models that its training began with or had as a teacher, and all their data.

It is written down when a run begins, while the files are there: a ``.tflite`` file's card tells it, and the
``config.json`` beside a ``model.keras``, each with what came before it. Weights of a backbone alone have none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crackedge.edge_runtime.models.card import split_card, trained_on
from crackedge.edge_runtime.models.model import read_model
from crackedge.train import run_folder

WHOLE_NETWORKS = (".keras", ".tflite")  # files that hold the head too

_NOT_KNOWN = "what it learnt from is not known"


@dataclass(frozen=True, slots=True)
class Lineage:
    """Earlier models and their data, in the words of :class:`crackedge.edge_runtime.models.card.ModelCard`.

    Attributes:
        models: as in its ``lineage``.
        data_sets: what they were trained on, as in its ``data_sets``; each once.
    """

    models: tuple[Mapping[str, Any], ...] = ()
    data_sets: tuple[Mapping[str, Any], ...] = ()


def lineage(weights: str | None, teacher: str, *, sets: Iterable[Mapping[str, Any]] = ()) -> Lineage:
    """What a run begins with and is taught by.

    Args:
        weights: a file, ``"imagenet"`` or None; all but whole networks have no lineage.
        teacher: the ``model.keras`` of an earlier run; empty for none.
        sets: the run's own, which are not listed again.

    Raises:
        DataError: the ``config.json`` beside a network cannot be read.
        ModelError: a ``.tflite`` file is damaged.
    """
    found = [_of_file(Path(str(weights)), "weights")] if Path(str(weights)).suffix in WHOLE_NETWORKS else []
    found += [_of_file(Path(teacher), "teacher")] if teacher else []
    return _told(found, sets)


def lineage_of_mean(files: Iterable[Path], *, sets: Iterable[Mapping[str, Any]] = ()) -> Lineage:
    """What the mean of several runs' networks learnt before: they, and what came before them.

    Args:
        files: their ``model.keras``, or ``.tflite`` files.
        sets: as of :func:`lineage`.

    Raises:
        DataError: the ``config.json`` beside one cannot be read.
        ModelError: a ``.tflite`` file is damaged.
    """
    return _told([_of_file(file, "averaged") for file in files], sets)


def _told(found: Iterable[Lineage], sets: Iterable[Mapping[str, Any]]) -> Lineage:
    """All of them as one; what is listed already, of models or data sets, is not listed again."""
    found = list(found)
    models: list[Mapping[str, Any]] = []
    for model in (model for one in found for model in one.models):
        if model not in models:
            models.append(model)
    listed = {_identity(one) for one in sets}
    data_sets = []
    for data_set in (data_set for one in found for data_set in one.data_sets):
        if _identity(data_set) not in listed:
            listed.add(_identity(data_set))
            data_sets.append(data_set)
    return Lineage(tuple(models), tuple(data_sets))


def _identity(data_set: Mapping[str, Any]) -> tuple[Any, ...]:
    """Two sets of one name but of other terms are two."""
    return tuple(data_set.get(key) for key in ("name", "licence", "source"))


def _of_file(path: Path, role: str) -> Lineage:
    return _of_card(path, role) if path.suffix == ".tflite" else _of_run(path, role)


def _of_card(path: Path, role: str) -> Lineage:
    flatbuffer, card = split_card(read_model(path)[1], origin=str(path))
    if card is None:
        sha256 = hashlib.sha256(flatbuffer).hexdigest()
        model = {"role": role, "name": path.stem, "sha256": sha256, "notes": f"no card: {_NOT_KNOWN}"}
        return Lineage((model,))
    told = {"name": card.name, "sha256": card.sha256, "training": card.training, "notes": card.notes}
    trained_on = [one for one in card.data_sets if one.get("used_for") != "calibration"]  # which is made anew
    return _joined({"role": role, **told}, Lineage(card.lineage, tuple(trained_on)))


def _of_run(path: Path, role: str) -> Lineage:
    model = {"role": role, "name": path.stem, "sha256": file_sha256(path)}
    has_config = (path.parent / run_folder.CONFIG).is_file()
    config = run_folder.read_config(path.parent) if has_config else {}
    if not {"recipe", "sets", "weights"} <= config.keys():
        return Lineage(({**model, "notes": f"not in the folder of a run: {_NOT_KNOWN}"},))
    before = Lineage(**config["lineage"]) if "lineage" in config else _as_far_as_it_is_there(config)
    model |= {
        "name": config["recipe"]["name"],
        "training": config.get("training", {}),
        "notes": f"Pretrained weights: {config['weights']}",
    }
    return _joined(model, Lineage(before.models, (*trained_on(config["sets"]), *before.data_sets)))


def _as_far_as_it_is_there(config: Mapping[str, Any]) -> Lineage:
    """Of a run from before lineages were written down: by the file that it began with, if that is still the same."""
    file = Path(str(config.get("weights_from")))
    same = file.is_file() and file_sha256(file) == config.get("weights_sha256")
    return lineage(str(file), "") if same else Lineage()


def _joined(model: Mapping[str, Any], before: Lineage) -> Lineage:
    """A model, and behind it what came before it, which is said to be its."""
    name = model["name"]
    return Lineage(
        (model, *({**one, "of": one.get("of", name)} for one in before.models)),
        tuple({**one, "model": one.get("model", name)} for one in before.data_sets),
    )


def file_sha256(path: Path) -> str:
    """Of a whole file, as ``sha256sum`` prints it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
