"""How right a model is on labelled sets, through the very engines that scan frames in the field.

A picture is scanned once; the windows that count are read off its score map, which has all of them with either engine
(*tiles* at a stride of 128 px, *dense* at 32). What was read is kept as logits (:class:`SetLogits`), so that a
calibration can be fitted, and figures be had for it, without scanning again. Sets are never pooled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from crackedge.benchmarks import data_sets, metrics
from crackedge.benchmarks.bootstrap import intervals
from crackedge.benchmarks.calibration import sigmoid
from crackedge.benchmarks.data_sets import LabelledSet, LabelledWindow, Picture, Truth
from crackedge.benchmarks.table import Figure, aligned, ends
from crackedge.edge_runtime.errors import DataError
from crackedge.edge_runtime.lattice import CELL
from crackedge.edge_runtime.models.card import Calibration, OperatingPoint
from crackedge.edge_runtime.models.model import Model
from crackedge.edge_runtime.scan.engine import Engine, engine_name, make_engine
from crackedge.edge_runtime.scan.scoremap import ScoreMap
from crackedge.edge_runtime.sources.source import Skipped

SCHEMA = 1
CELL_CRACK_PIXELS = 16  # in a cell, from which on it counts as crack: half of a hairline that crosses it

Progress = Callable[[str, int, int], None]  # name of the set, pictures done, pictures in all

_STRIDES = {"tiles": data_sets.WINDOW_STEP, "dense": CELL}


@dataclass(frozen=True, slots=True, eq=False)
class SetLogits:
    """What a network said about one labelled set, before any calibration.

    Attributes:
        name: of the set.
        files: the pictures that gave windows or cells, by name inside the set.
        window_logits: (N,) float32, mean logit of each window that counts.
        window_labels: (N,) bool, True for crack.
        window_files: (N,) int, which of ``files`` each window lies in.
        window_xy: (N, 2) int, its left and top pixel.
        cell_logits: (M,) float32, of the cells whose class is known: from masks, and all cells of crack-free tiles.
        cell_labels: (M,) bool, True for crack.
        cell_files: (M,) int, which of ``files`` each cell lies in.
        cell_at_border: (M,) bool, whether it is one of the outermost whole cells of its picture.
        cell_beside_crack: (M,) bool, whether one of its eight neighbours is cracked, or not known.
        skipped: what could not be used, and why.
    """

    name: str
    files: tuple[str, ...]
    window_logits: npt.NDArray[np.float32]
    window_labels: npt.NDArray[np.bool_]
    window_files: npt.NDArray[np.intp]
    window_xy: npt.NDArray[np.intp]
    cell_logits: npt.NDArray[np.float32]
    cell_labels: npt.NDArray[np.bool_]
    cell_files: npt.NDArray[np.intp]
    cell_at_border: npt.NDArray[np.bool_]
    cell_beside_crack: npt.NDArray[np.bool_]
    skipped: tuple[Skipped, ...] = ()


def evaluate(
    model: Model,
    sets: Iterable[LabelledSet],
    *,
    engine: str = "auto",
    operating_point: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Figures and scores of a model on labelled sets, each for itself; ready to be written as JSON.

    Args:
        model: an opened model; its card gives calibration and thresholds.
        sets: from :func:`crackedge.benchmarks.data_sets.find_sets`.
        engine: ``"auto"``, ``"tiles"`` or ``"dense"``.
        operating_point: name of one in the card; None takes the card's default.
        threads: of the interpreter; None takes its default.
        progress: is told after each picture.

    Raises:
        DataError: two sets of one name, or a set without one usable picture.
        OptionError: the engine or the operating point does not fit the model.
        ModelError: the model does not run.
    """
    name = engine_name(model, engine)
    model.card.operating_point(name, operating_point)  # refuse now what would fail after minutes
    collected = collect_logits(model, sets, engine=name, threads=threads, progress=progress)
    return judge_all(model, collected, engine=name, operating_point=operating_point)


def judge_all(
    model: Model, collected: Iterable[SetLogits], *, engine: str, operating_point: str | None = None
) -> dict[str, Any]:
    """An evaluation, as :func:`evaluate` gives it, of logits that were collected before.

    Args:
        model: the model that said them; its card gives calibration and thresholds.
        collected: what it said.
        engine: by which of the two, ``"tiles"`` or ``"dense"``.
        operating_point: name of one in the card; None takes the card's default.

    Raises:
        OptionError: the card has no such operating point.
    """
    point = model.card.operating_point(engine, operating_point)
    calibration = model.card.engine_calibration(engine)
    return {
        "schema": SCHEMA,
        "model": model.identity,
        "engine": engine,
        "operating_point": {
            "name": operating_point or model.card.default,
            "window_threshold": point.window_threshold,
            "cell_threshold": point.cell_threshold,
        },
        "sets": {one.name: judge(one, calibration, point) for one in collected},
    }


def collect_logits(
    model: Model,
    sets: Iterable[LabelledSet],
    *,
    engine: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[SetLogits]:
    """The logits of every window and cell of known class, set by set; what calibrations and figures are made from.

    Args:
        model: an opened model; calibration and thresholds of its card are not used.
        sets: labelled sets of different names.
        engine: ``"auto"``, ``"tiles"`` or ``"dense"``.
        threads: of the interpreter; None takes its default.
        progress: is told after each picture.

    Raises:
        DataError: two sets of one name, or a set without one usable picture.
        OptionError: the engine does not fit the model.
        ModelError: the model does not run.
    """
    listed = list(sets)
    names = [one.name for one in listed]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"several sets are called {', '.join(twice)}; rename a folder, figures stand by name")
    name = engine_name(model, engine)
    scan = make_engine(model, engine=name, stride=_STRIDES[name], threads=threads)
    return [_scan_set(one, scan, progress) for one in listed]


def judge(logits: SetLogits, calibration: Calibration, point: OperatingPoint) -> dict[str, Any]:
    """One set's entry of an evaluation: its figures at a calibration and a pair of thresholds, and its items.

    Under ``operating_points`` stand recall and false-positive rate of each of the calibration's; None where a set
    has no windows of that class.
    """
    scores, labels = window_scores(logits, calibration), logits.window_labels
    rates = {}
    for name, other in calibration.operating_points.items():
        counts = metrics.confusion(scores, labels, other.window_threshold)
        rates[name] = {"recall": counts.recall, "false_positive_rate": counts.false_positive_rate}
    return {
        "n": int(scores.size),
        "pictures": len(set(logits.window_files.tolist())),
        "metrics": {
            **metrics.summary(scores, labels, threshold=point.window_threshold),
            **intervals(scores, labels, logits.window_files, threshold=point.window_threshold),
        },
        "operating_points": rates,
        "items": [
            {
                "file": logits.files[file],
                "label": "crack" if crack else "no_crack",
                "score": score,
                "x": x,
                "y": y,
            }
            for file, crack, score, (x, y) in zip(
                logits.window_files.tolist(),
                labels.tolist(),
                scores.tolist(),
                logits.window_xy.tolist(),
                strict=True,
            )
        ],
        "skipped": [{"file": skipped.file, "reason": skipped.reason} for skipped in logits.skipped],
    }


def window_scores(logits: SetLogits, calibration: Calibration) -> npt.NDArray[np.float64]:
    """(N,) probabilities of the windows; float64, so that confident windows keep their order."""
    return sigmoid(calibration.scale * logits.window_logits.astype(np.float64) + calibration.bias)


def cell_scores(logits: SetLogits, calibration: Calibration) -> npt.NDArray[np.float64]:
    """(M,) probabilities of the cells."""
    return sigmoid(calibration.cell_scale * logits.cell_logits.astype(np.float64) + calibration.cell_bias)


def cell_truth(truth: Truth) -> npt.NDArray[np.int8]:
    """What a mask says of whole cells.

    Args:
        truth: (H, W) int8, 1 crack, 0 no crack, -1 not known.

    Returns:
        (H // 32, W // 32) int8: 1 with at least 16 crack pixels, 0 with none, -1 for what lies between or is not known.
    """
    rows, cols = truth.shape[0] // CELL, truth.shape[1] // CELL
    blocks = truth[: rows * CELL, : cols * CELL].reshape(rows, CELL, cols, CELL)
    cracked = np.count_nonzero(blocks == data_sets.CRACK, axis=(1, 3))
    unknown = (blocks == data_sets.UNKNOWN).any(axis=(1, 3))
    said = np.where(cracked >= CELL_CRACK_PIXELS, data_sets.CRACK, data_sets.UNKNOWN)
    said[cracked == 0] = data_sets.NO_CRACK
    said[unknown] = data_sets.UNKNOWN
    return np.asarray(said, np.int8)


def format_evaluation(result: Mapping[str, Any]) -> str:
    """An evaluation as tables for the terminal, one line a set, with what was skipped below."""
    model, point = result["model"], result["operating_point"]
    header = ["set", "n", "crack", "accuracy", "precision", "recall", "F1", "false pos.", "AUC", "AP", "ECE", "skipped"]
    keys = ["accuracy", "precision", "recall", "f1", "false_positive_rate", "auc", "average_precision", "ece"]
    rows = [
        [name, one["n"], one["metrics"]["n_crack"], *(one["metrics"][key] for key in keys), len(one["skipped"])]
        for name, one in result["sets"].items()
    ]
    lines = [
        f"model {model['name']} ({model['quantization']}, sha256 {model['sha256'][:12]}), engine {result['engine']}, "
        f"{point['name']}: window threshold {point['window_threshold']:.3f}",
        aligned(header, rows),
        *format_intervals({name: one["metrics"] for name, one in result["sets"].items()}),
        *format_operating_points({name: one["operating_points"] for name, one in result["sets"].items()}),
    ]
    for name, one in result["sets"].items():
        lines += [f"skipped in {name}: {skipped['file']}: {skipped['reason']}" for skipped in one["skipped"]]
    return "\n".join(lines)


def format_intervals(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The intervals among some figures, a line for each name; nothing where there are none (as in older cards)."""
    shown = {"accuracy": "accuracy", "recall": "recall", "false_positive_rate": "false pos.", "auc": "AUC"}
    rows = [[name, *(ends(one.get(f"{key}_interval")) for key in shown)] for name, one in figures.items()]
    if not any(cell for _, *cells in rows for cell in cells):
        return []
    return ["", "95 % intervals, by bootstrap over the pictures", aligned(["set", *shown.values()], rows)]


def format_operating_points(rates: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> list[str]:
    """Recall and false-positive rate at each operating point, a line for each name; nothing where there are none."""
    points = list(dict.fromkeys(point for one in rates.values() for point in one))
    if not points:
        return []
    rows: list[list[Figure]] = [
        [name, *(one.get(point, {}).get(key) for point in points for key in ("recall", "false_positive_rate"))]
        for name, one in rates.items()
    ]
    header = ["set", *(head for point in points for head in (f"{point}: recall", "false pos."))]
    return ["", aligned(header, rows)]


def _scan_set(labelled_set: LabelledSet, scan: Engine, progress: Progress | None) -> SetLogits:
    skipped = list(labelled_set.skipped)
    files: list[str] = []
    windows: list[LabelledWindow] = []
    window_logits: list[float] = []
    window_files: list[int] = []
    cells: list[tuple[npt.NDArray[Any], ...]] = []
    for done, (entry, picture) in enumerate(data_sets.pictures(labelled_set, skipped), 1):
        scores = scan(picture.image)
        number = len(files)
        files.append(labelled_set.file(entry))
        windows += picture.windows
        window_logits += _logits_of(picture.windows, scores)
        window_files += [number] * len(picture.windows)
        cells.append(_known_cells(picture, scores, number))
        if progress is not None:
            broken = len(skipped) - len(labelled_set.skipped)
            progress(labelled_set.name, done + broken, len(labelled_set.items))
    if not files:
        first = skipped[0]
        raise DataError(
            f"{labelled_set.path}: none of its {len(skipped)} images can be used; {first.file}: {first.reason}"
        )
    cell_logits, cell_labels, cell_files, at_border, beside_crack = (
        np.concatenate(parts) for parts in zip(*cells, strict=True)
    )
    return SetLogits(
        name=labelled_set.name,
        files=tuple(files),
        window_logits=np.array(window_logits, np.float32),
        window_labels=np.array([window.crack for window in windows], np.bool_),
        window_files=np.array(window_files, np.intp),
        window_xy=np.array([(window.x, window.y) for window in windows], np.intp).reshape(-1, 2),
        cell_logits=cell_logits,
        cell_labels=cell_labels,
        cell_files=cell_files,
        cell_at_border=at_border,
        cell_beside_crack=beside_crack,
        skipped=tuple(skipped),
    )


def _logits_of(windows: Sequence[LabelledWindow], scores: ScoreMap) -> list[float]:
    columns = {x: column for column, x in enumerate(scores.xs.tolist())}
    rows = {y: row for row, y in enumerate(scores.ys.tolist())}
    return [float(scores.window_logits[rows[window.y], columns[window.x]]) for window in windows]


def _known_cells(picture: Picture, scores: ScoreMap, number: int) -> tuple[npt.NDArray[Any], ...]:
    """What :class:`SetLogits` says of the cells of known class: from a mask, or all of a crack-free tile."""
    if picture.truth is not None:
        said = cell_truth(picture.truth)
    elif not any(window.crack for window in picture.windows):
        said = np.full(scores.cell_logits.shape, data_sets.NO_CRACK, np.int8)
    else:
        said = np.full(scores.cell_logits.shape, data_sets.UNKNOWN, np.int8)
    logits = scores.cell_logits[: said.shape[0], : said.shape[1]]
    known = said != data_sets.UNKNOWN
    at_border = np.ones(said.shape, np.bool_)
    at_border[1:-1, 1:-1] = False
    beside = cv2.dilate((said != data_sets.NO_CRACK).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    files = np.full(np.count_nonzero(known), number, np.intp)
    return logits[known], said[known] == data_sets.CRACK, files, at_border[known], beside[known]
