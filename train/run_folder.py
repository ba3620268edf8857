"""The folder of a training run: the network, what it was made of, how it went.

``model.keras`` the network (ends in the logit map) · ``config.json`` recipe, data, versions · ``history.jsonl`` one
line an epoch · ``metrics.json`` figures of each validation set · ``curves.png``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crackedge.edge_runtime.errors import DataError, OutputError

MODEL, CONFIG, HISTORY, METRICS, CURVES = "model.keras", "config.json", "history.jsonl", "metrics.json", "curves.png"


def create(path: Path) -> Path:
    """A new, empty run folder.

    Raises:
        OutputError: it exists and holds something, or cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise OutputError(f"{path}: is not empty; give another -o, a training run is never overwritten")
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"{path}: is not a folder; give another -o") from error
    except PermissionError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); give another -o") from error
    return path


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write ``config.json``; dataclasses are written as objects."""
    text = json.dumps(config, indent=1, ensure_ascii=False, default=dataclasses.asdict)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def append_history(folder: Path, line: Mapping[str, Any]) -> None:
    """One epoch's line, on disk before the next epoch begins."""
    with (folder / HISTORY).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def write_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Write ``metrics.json``."""
    (folder / METRICS).write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")


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


def draw_curves(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """``curves.png``: loss over the epochs, and each validation set's AUC or recall."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    epochs = [line["epoch"] for line in history]
    left.plot(epochs, [line["loss"] for line in history], marker=".")
    left.set(xlabel="epoch", ylabel="training loss")
    for name in sorted({name for line in history for name in line["val"]}):
        figures = [line["val"].get(name, {}) for line in history]
        key = "auc" if any(values.get("auc") is not None for values in figures) else "mean_score"
        right.plot(epochs, [values.get(key) for values in figures], marker=".", label=f"{name} ({key})")
    right.set(xlabel="epoch", ylabel="validation")
    right.legend(fontsize="small")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(folder / CURVES, dpi=110)
