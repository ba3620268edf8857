"""What the card says of probabilities: scales, biases and thresholds, fitted on one half of the validation photographs.

The other half gives the figures. Halves are taken in the order of the files' names, for in the public data sets
neighbours in that order are pieces of one photograph.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from crackedge.benchmarks.calibration import choose_threshold, even_weights, fit_affine
from crackedge.benchmarks.evaluation import SetLogits, cell_scores, judge, window_scores
from crackedge.benchmarks.metrics import Labels, Scores
from crackedge.edge_runtime.card import Calibration, OperatingPoint
from crackedge.edge_runtime.errors import DataError

HIGH_RECALL = 0.97
BALANCED_RATE = 0.05  # of a set's crack-free windows that may be marked: half of what an unseen surface may show
HIGH_PRECISION_RATE = 0.01  # over all sets: in one set it would hang on a single window
CELL_RATES = {"high-recall": 0.05, "balanced": 0.01, "high-precision": 0.005}  # of a set's crack-free cells
FEWEST = 20  # windows of a class from which on a set has a say in that class' rate


def halves(logits: SetLogits) -> tuple[SetLogits, SetLogits]:
    """A set's windows and cells, split in two: of each folder of files, the first half of the names and the second."""
    folders: dict[str, list[int]] = defaultdict(list)
    for number, file in enumerate(logits.files):
        folders[file.rpartition("/")[0]].append(number)
    first = np.zeros(len(logits.files), np.bool_)
    for numbers in folders.values():
        ordered = sorted(numbers, key=lambda number: logits.files[number])
        first[ordered[: (len(ordered) + 1) // 2]] = True
    return _part(logits, first), _part(logits, ~first)


def fit_calibration(sets: Sequence[SetLogits]) -> Calibration:
    """Calibration and operating points of one engine, every set counting the same, and its classes too.

    Raises:
        DataError: no windows with cracks, or none without.
    """
    labels = [one.window_labels for one in sets]
    scale, bias = fit_affine(
        np.concatenate([one.window_logits for one in sets]),
        np.concatenate(labels),
        weights=even_weights(labels, by_class=True),
    )
    windows = Calibration(scale=scale, bias=bias)
    masked = [one for one in sets if one.cell_labels.any() and not one.cell_labels.all()]
    if masked:
        cell_labels = [one.cell_labels for one in masked]
        cell_scale, cell_bias = fit_affine(
            np.concatenate([one.cell_logits for one in masked]),
            np.concatenate(cell_labels),
            weights=even_weights(cell_labels, by_class=True),
        )
    else:  # no mask says which cells are cracked: read a cell as if it were its window
        cell_scale, cell_bias = scale, bias
    calibration = dataclasses.replace(windows, cell_scale=cell_scale, cell_bias=cell_bias)
    return dataclasses.replace(calibration, operating_points=_operating_points(sets, masked, calibration))


def figures(sets: Sequence[SetLogits], calibration: Calibration, point: OperatingPoint) -> dict[str, Any]:
    """Figures of each set, rounded, with their sample counts, for the card."""
    out: dict[str, Any] = {}
    for one in sets:
        if not one.window_labels.size:
            continue
        entry = judge(one, calibration, point)
        out[one.name] = {"n": entry["n"], **_rounded(entry["metrics"])}
    return out


def _operating_points(
    sets: Sequence[SetLogits], masked: Sequence[SetLogits], calibration: Calibration
) -> Mapping[str, OperatingPoint]:
    windows = [_counted(window_scores(one, calibration), one.window_labels) for one in sets if one.window_labels.size]
    crack_free = [0 in labels for _, labels in windows]

    def highest(rate: float) -> list[float | None]:
        return [rate if counts else None for counts in crack_free]

    cells = [(cell_scores(one, calibration), one.cell_labels) for one in masked]

    def point(name: str, window_threshold: float) -> OperatingPoint:
        rates = [CELL_RATES[name]] * len(cells)
        chosen = choose_threshold(cells, objective="recall", max_false_positive_rate=rates) if cells else 0.5
        return OperatingPoint(round(window_threshold, 4), round(chosen, 4))

    try:
        balanced = choose_threshold(windows, max_false_positive_rate=highest(BALANCED_RATE))
    except DataError:  # an easy or a hopeless set: the best there is
        balanced = choose_threshold(windows)
    high_recall = choose_threshold(windows, objective="false_positive_rate", min_recall=HIGH_RECALL)
    high_precision = choose_threshold(windows, objective="recall", max_false_positive_rate=HIGH_PRECISION_RATE)
    return {
        "balanced": point("balanced", balanced),
        "high-recall": point("high-recall", min(high_recall, balanced)),
        "high-precision": point("high-precision", max(high_precision, balanced)),
    }


def _counted(scores: Scores, labels: Labels) -> tuple[Scores, Labels]:
    """Scores and labels of a set, without a class that it has few windows of, unless it has nothing else."""
    few = [value for value in (True, False) if 0 < np.count_nonzero(labels == value) < FEWEST]
    if len(few) == 2 or labels.all() or not labels.any():
        return scores, labels
    kept = np.isin(labels, few, invert=True)
    return scores[kept], labels[kept]


def _part(logits: SetLogits, files: npt.NDArray[np.bool_]) -> SetLogits:
    windows, cells = files[logits.window_files], files[logits.cell_files]
    return dataclasses.replace(
        logits,
        window_logits=logits.window_logits[windows],
        window_labels=logits.window_labels[windows],
        window_files=logits.window_files[windows],
        window_xy=logits.window_xy[windows],
        cell_logits=logits.cell_logits[cells],
        cell_labels=logits.cell_labels[cells],
        cell_files=logits.cell_files[cells],
    )


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}
