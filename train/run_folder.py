"""The folder of a training run: the network, what it was made of, how it went.

``model.keras`` the network (ends in the logit map) · ``config.json`` recipe, data, versions · ``history.jsonl`` one
line an epoch, ``history.csv`` the same flat, ``tensorboard/`` the same as event files · ``metrics.json`` figures of
each validation set · ``report.html`` all of it to look at, ``curves.png`` · ``checkpoints/`` the last epochs, to go
on from.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crackedge.edge_runtime.errors import DataError, OptionError, OutputError
from crackedge.edge_runtime.output_file import replacing
from crackedge.train.recipe import Recipe, recipe_from

if TYPE_CHECKING:  # its environment may still have to be prepared, by what a config.json says
    import keras

MODEL, CONFIG, HISTORY, METRICS, CURVES = "model.keras", "config.json", "history.jsonl", "metrics.json", "curves.png"
REPORT, HISTORY_TABLE, TENSORBOARD, CHECKPOINTS = "report.html", "history.csv", "tensorboard", "checkpoints"


def require_free(path: Path) -> None:
    """Refuse a place that cannot become a run folder, before anybody works for it.

    Raises:
        OutputError: it exists and holds something.
    """
    with _placing(path):
        if path.exists() and any(path.iterdir()):
            raise OutputError(f"{path}: is not empty; give another -o, a training run is never overwritten")


def create(path: Path) -> Path:
    """A new, empty run folder.

    Raises:
        OutputError: it exists and holds something, or cannot be made.
    """
    require_free(path)
    with _placing(path):
        path.mkdir(parents=True, exist_ok=True)
        (path / CHECKPOINTS).mkdir()
    return path


def write_model(folder: Path, network: keras.Model) -> None:
    """Write ``model.keras``.

    Raises:
        OutputError: it cannot be written.
    """
    with replacing(folder / MODEL) as part:
        network.save(part)


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write ``config.json``; dataclasses are written as objects.

    Raises:
        OutputError: it cannot be written.
    """
    _write_text(folder / CONFIG, json.dumps(config, indent=1, ensure_ascii=False, default=dataclasses.asdict))


def write_history(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write ``history.jsonl``, and ``history.csv`` with a column for each number in it: ``val.SET.auc`` and the like.

    Raises:
        OutputError: they cannot be written.
    """
    _write_text(folder / HISTORY, "\n".join(json.dumps(line) for line in history))
    rows = [dict(_flat(line)) for line in history]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (
        replacing(folder / HISTORY_TABLE) as part,
        part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(rows)


def log_tensorboard(folder: Path, line: Mapping[str, Any]) -> None:
    """Add an epoch's numbers to the event files in ``tensorboard/``; not where Keras was installed without the extra.

    Raises:
        OutputError: they cannot be written.
    """
    if find_spec("tensorboard") is None:
        return
    from tensorboard.summary import Writer  # it takes a while, and most of what is here does not need it

    try:
        writer = Writer(str(folder / TENSORBOARD))
        for name, value in _flat(line):
            if isinstance(value, int | float):
                writer.add_scalar(name.replace(".", "/"), value, step=line["epoch"])
        writer.close()
    except OSError as error:
        raise OutputError(f"{folder / TENSORBOARD}: cannot be written ({error.strerror or error})") from error


def write_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Write ``metrics.json``.

    Raises:
        OutputError: it cannot be written.
    """
    _write_text(folder / METRICS, json.dumps(metrics, indent=1))


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a run.

    Raises:
        DataError: not a run folder.
    """
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder}: not the folder of a training run ({CONFIG}: {error}); give what `crackedge train` made"
        ) from error
    return config


def recipe_of(config: Mapping[str, Any]) -> Recipe:
    """The recipe that stands in a ``config.json``.

    Raises:
        DataError: it was written by a version with other keys, or by hand, with values that cannot be.
    """
    try:
        return recipe_from(config["recipe"], origin=CONFIG)
    except (TypeError, AttributeError, KeyError, OptionError) as error:
        reason = error if isinstance(error, OptionError) else f"{CONFIG}: no recipe ({error!r})"
        raise DataError(
            f"{reason}; use the version of crackedge that began the run, and leave the file alone"
        ) from error


@contextlib.contextmanager
def _placing(path: Path) -> Iterator[None]:
    try:
        yield
    except OutputError:  # an OSError too
        raise
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"{path}: is not a folder; give another -o") from error
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); give another -o") from error


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as part:
        # Halves of characters, in names of files that are not UTF-8, become the escapes that JSON has for them.
        part.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
