"""Checkpoints: all that a run needs to go on after its last complete epoch, as if nothing had happened.

``checkpoints/epoch-0007.npz`` in the run folder, plain NumPy arrays: ``model/N`` every variable of the training model
(weights, statistics, random states), ``optimizer/N`` every variable of the optimizer (moments, moving average, step),
``kept/N`` the weights of the network that would be handed over now, and ``history``, a JSON text with a line an epoch.
The last three are kept. To go back to an earlier one, delete the later ones.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.errors import DataError
from crackedge.edge_runtime.output_file import replacing
from crackedge.train.run_folder import CHECKPOINTS

KEPT_FILES = 3

Arrays = list[npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A run after an epoch.

    Attributes:
        history: a line for each epoch done, as in history.jsonl.
        model: variables of the training model.
        optimizer: variables of the optimizer of the last epoch's phase.
        kept: weights of the network to hand over: the last epoch's, or with ``patience`` the best one's.
    """

    history: list[dict[str, Any]]
    model: Arrays
    optimizer: Arrays
    kept: Arrays


def take(model: keras.Model, *, history: list[dict[str, Any]], kept: Arrays) -> Checkpoint:
    """The state of a compiled model, copied."""
    return Checkpoint(history, _values(model.variables), _values(model.optimizer.variables), kept)


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint beside the others of a run folder; it is there whole, or not at all.

    Raises:
        OutputError: it cannot be written; the others are left alone.
    """
    arrays: dict[str, npt.NDArray[Any]] = {"history": np.array(json.dumps(checkpoint.history))}
    for group in ("model", "optimizer", "kept"):
        arrays |= {f"{group}/{number}": array for number, array in enumerate(getattr(checkpoint, group))}
    path = folder / CHECKPOINTS / f"epoch-{len(checkpoint.history):04}.npz"
    with replacing(path) as part:
        np.savez(part, **arrays)  # type: ignore[arg-type]
    for old in _files(folder)[:-KEPT_FILES]:
        old.unlink()
    return path


def load(folder: Path) -> Checkpoint | None:
    """The last checkpoint of a run folder; None where no epoch has ended.

    Raises:
        DataError: the file is damaged.
    """
    files = _files(folder)
    if not files:
        return None
    try:
        with files[-1].open("rb") as raw, np.load(raw) as file:
            groups = {
                group: [file[f"{group}/{number}"] for number in range(sum(name.startswith(group) for name in file))]
                for group in ("model", "optimizer", "kept")
            }
            return Checkpoint(json.loads(str(file["history"])), **groups)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{files[-1]}: not a checkpoint that can be read ({error}); delete it to go on from the one before"
        ) from error


def restore(variables: Iterable[Any], arrays: Arrays, *, origin: Path) -> None:
    """Give variables of Keras the values of a checkpoint.

    Raises:
        DataError: they are not those that were saved.
    """
    variables = list(variables)
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [array.shape for array in arrays]:
        raise DataError(
            f"{origin}: its checkpoint is of another network ({len(arrays)} arrays, expected {len(shapes)}); "
            "resume with the versions of crackedge and Keras that began the run"
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _values(variables: Iterable[Any]) -> Arrays:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def _files(folder: Path) -> list[Path]:
    return sorted((folder / CHECKPOINTS).glob("epoch-????.npz"))
