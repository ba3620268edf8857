"""What a card says of probabilities: scales, biases and operating points, fitted on labelled photographs.

Each set has its own fit, and the calibration is the mean of them, so that one set of odd labels or an odd surface has
one voice. Sets with fewer than 20 windows of a class have one voice together; where they have fewer even so, they have
none, unless there are no others. The operating points:

- ``balanced``: probability 0.5; higher where more than 10 % of a set's crack-free windows would be marked.
- ``high-recall``: the highest threshold that finds 95 % of the cracks of every set and 97 % on the mean of the sets,
  so that about 90 % are found of a set of other photographs.
- ``high-precision``: the lowest threshold that marks at most 1 % of the crack-free windows on the mean of the sets.

None lies on the wrong side of ``balanced``. A set with fewer than 20 windows of a class has no say in that class' rate.
Thresholds of cells mark few crack-free cells in every masked set.

Of the photographs one half gives the calibration, the other its figures. Halves are taken in the order of the files'
names, for neighbours in that order are often pieces of one photograph, or shots of one place.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crackedge.benchmarks import metrics
from crackedge.benchmarks.calibration import choose_threshold, class_weights, fit_affine, sigmoid
from crackedge.benchmarks.data_sets import LabelledSet
from crackedge.benchmarks.evaluation import Progress, SetLogits, cell_scores, collect_logits, judge, window_scores
from crackedge.benchmarks.metrics import Labels, Scores
from crackedge.benchmarks.table import Figure, aligned
from crackedge.edge_runtime.errors import DataError
from crackedge.edge_runtime.models.card import Calibration, ModelCard, OperatingPoint, append_card
from crackedge.edge_runtime.models.model import Model
from crackedge.edge_runtime.output_file import replacing, require_free

BALANCED_RATE = 0.10  # of a set's crack-free windows that may be marked
MEAN_RECALL = 0.97  # over the sets
LEAST_RECALL = 0.95  # of each; it misses half as many cracks as may be missed on other photographs
HIGH_PRECISION_RATE = 0.01  # over all sets: in one set it would hang on a single window
CELL_RATES = {"high-recall": 0.05, "balanced": 0.0075, "high-precision": 0.005}  # of a set's crack-free cells
FEWEST = 20  # windows of a class from which on a set has a say in that class' rate
PRIOR_WINDOWS = 50  # of the rarer class, from which on new thresholds outweigh a card's

_BLIND_AUC = 0.55  # from 0.45 to it, nothing is told apart
_OUTERMOST = 1e-4  # how near thresholds come to 0 and 1, and their last digit


def halves(logits: SetLogits) -> tuple[SetLogits, SetLogits]:
    """A set's windows and cells, split in two: of each folder of files, the first half of the names and the second."""
    first = first_half(logits.files)
    return _part(logits, first), _part(logits, ~first)


def first_half(files: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Of each folder of files, the first half of the names: (N,) bool, in the order of ``files``."""
    folders: dict[str, list[int]] = defaultdict(list)
    for number, file in enumerate(files):
        folders[file.rpartition("/")[0]].append(number)
    first = np.zeros(len(files), np.bool_)
    for numbers in folders.values():
        ordered = sorted(numbers, key=lambda number: files[number])
        first[ordered[: (len(ordered) + 1) // 2]] = True
    return first


def fit_calibration(sets: Sequence[SetLogits], *, prior: Calibration | None = None) -> Calibration:
    """Calibration and operating points of one engine, every set counting the same, and its classes too.

    Args:
        sets: what the network said of the windows and cells of labelled photographs.
        prior: a calibration made elsewhere, to whose decisions it stays the nearer the fewer windows there are.

    Raises:
        DataError: no windows with cracks, or none without.
    """
    prior = _centred(prior) if prior else None
    scale, bias = _mean_fit(_windows(sets), (prior.scale, prior.bias) if prior else None)
    masked = [one for one in sets if one.cell_labels.any() and not one.cell_labels.all()]
    if masked:
        cells = [(one.cell_logits, one.cell_labels) for one in masked]
        cell_scale, cell_bias = _mean_fit(cells, (prior.cell_scale, prior.cell_bias) if prior else None)
    elif prior is None:  # no mask says which cells are cracked: read a cell as if it were its window
        cell_scale, cell_bias = scale, bias
    else:  # what is an even chance moves by as many logits for a cell as for a window, their mean
        cell_scale = prior.cell_scale
        cell_bias = prior.cell_bias + cell_scale * (bias / scale - prior.bias / prior.scale)
    calibration = Calibration(scale, bias, cell_scale, cell_bias)
    points = _operating_points(sets, masked, calibration)
    if prior is not None:
        weight = min(_counts(sets)) / (min(_counts(sets)) + PRIOR_WINDOWS)
        points = {
            name: _between(old, points.get(name, old), weight, cell_weight=weight if masked else 0.0)
            for name, old in prior.operating_points.items()
        }
    return dataclasses.replace(calibration, operating_points=points)


def figures(sets: Sequence[SetLogits], calibration: Calibration, point: OperatingPoint) -> dict[str, Any]:
    """Figures of each set at ``point``, rounded, with their intervals and sample counts, for the card.

    Under ``operating_points`` stand recall and false-positive rate of each of the calibration's; None where a set
    has no windows of that class.
    """
    out: dict[str, Any] = {}
    for one in sets:
        if not one.window_labels.size:
            continue
        entry = judge(one, calibration, point)
        rates = {name: _rounded(both) for name, both in entry["operating_points"].items()}
        out[one.name] = {"n": entry["n"], **_rounded(entry["metrics"]), "operating_points": rates}
    return out


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A model that was calibrated anew.

    Attributes:
        path: the new file.
        card: its card.
        before: what :func:`figures` says with the calibration that it had, by engine; ``card.metrics`` says it after.
        fitted: windows that gave scale and bias; fewer than there are where a set has no voice in them.
        measured: windows that gave the figures; all there are when ``held_out`` is false.
        held_out: whether the figures are from photographs that the calibration did not see.
        skipped: photographs that could not be used, and why, as ``set: file: why``.
    """

    path: Path
    card: ModelCard
    before: Mapping[str, Any]
    fitted: int
    measured: int
    held_out: bool
    skipped: tuple[str, ...]


def calibrate(
    model: Model,
    sets: Sequence[LabelledSet],
    output: Path,
    *,
    overwrite: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Calibrated:
    """Set a model's calibration anew from labelled photographs of a site, into a new file with the same network.

    The present calibration is the prior, so that ten photographs help and hardly ever spoil. Half of the photographs is
    kept back for the figures where each half has 20 windows of each class. The card's earlier figures are left out of
    the new one: they belong to the earlier calibration.

    Args:
        model: an opened model, of either head; without a card it gets one.
        sets: labelled photographs, from :func:`crackedge.benchmarks.data_sets.find_sets`.
        output: the file to write.
        overwrite: replace it if it exists.
        threads: of the interpreter; None takes its default.
        progress: is told after each picture.

    Raises:
        DataError: the photographs have no window with cracks, or none without, or cannot be used.
        OutputError: the file exists or cannot be written.
        ModelError: the model does not run.
    """
    require_free(output, overwrite=overwrite)
    engines = ("tiles", "dense") if model.card.head == "logit-map" else ("tiles",)
    calibration: dict[str, Calibration] = {}
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for engine in engines:
        logits = collect_logits(model, sets, engine=engine, threads=threads, progress=progress)
        _require_both(logits)
        split = [halves(one) for one in logits]
        for_fit, for_figures = [first for first, _ in split], [second for _, second in split]
        held_out = min(*_counts(for_fit), *_counts(for_figures)) >= FEWEST
        if not held_out:
            for_fit = for_figures = logits
        old = model.card.engine_calibration(engine)
        new = fit_calibration(for_fit, prior=old)
        calibration[engine] = new
        before[engine] = figures(for_figures, old, old.operating_points[model.card.default])
        after[engine] = figures(for_figures, new, new.operating_points[model.card.default])
    whose = "the other half of them" if held_out else "the same windows"
    card = dataclasses.replace(
        model.card,
        calibration=calibration,
        metrics=after,
        data_sets=(
            *model.card.data_sets,
            *({"name": one.name, "used_for": "calibration", "photographs": len(one.files)} for one in logits),
        ),
        notes=f"Calibrated anew on {_names(logits)}, the prior being the calibration that the model had; "
        f"figures are from {whose}. {model.card.notes}".strip(),
    )
    with replacing(output) as part:
        part.write_bytes(append_card(model.flatbuffer, card))
    return Calibrated(
        path=output,
        card=card,
        before=before,
        fitted=sum(labels.size for group in _voices(_windows(for_fit)) for _, labels in group),
        measured=sum(_counts(for_figures)),
        held_out=held_out,
        skipped=tuple(f"{one.name}: {skipped.file}: {skipped.reason}" for one in logits for skipped in one.skipped),
    )


def format_calibrated(result: Calibrated, *, crack_index: int | None = None, input_range: str | None = None) -> str:
    """The figures of before and after as a table for the terminal, one line for an engine and a set.

    Below stands what they give reason to ask.

    Args:
        result: what :func:`calibrate` gave.
        crack_index: which output was taken for the crack, where no card says so.
        input_range: what was given for the pixels, where no card says so.
    """
    keys = ("accuracy", "recall", "false_positive_rate", "ece")
    rows: list[list[Figure]] = []
    for engine, sets in result.card.metrics.items():
        for name, after in sets.items():
            before = result.before[engine][name]
            changes = [_change(before[key], after[key]) for key in keys]
            rows.append([engine, name, after["n_crack"], after["n_no_crack"], *changes])
    header = ["engine", "set", "crack", "no crack", "accuracy", "recall", "false pos.", "ECE"]
    source = (
        f"Fitted on {result.fitted} windows; the figures are from {result.measured} others, the other half of the "
        "photographs."
        if result.held_out
        else f"Fitted on {result.fitted} windows; the figures are from all {result.measured}, those among them, so "
        f"they flatter; to keep half back takes {2 * FEWEST} windows with cracks and {2 * FEWEST} without."
    )
    doubted = doubts(
        result.card.metrics,
        reversed_by="are cracked and crack-free the wrong way round, in these photographs or in the model?"
        if crack_index is None
        else f"is the crack the other output (--crack-index {1 - crack_index})?",
        blind_by="is the model for such photographs?" if input_range is None else "is --input-range right?",
    )
    return "\n".join([aligned(header, rows), source, *(f"skipped in {line}" for line in result.skipped), *doubted])


def doubts(figures: Mapping[str, Mapping[str, Any]], *, reversed_by: str, blind_by: str) -> list[str]:
    """What is to be asked about a model whose order of windows is no better than chance, a line for each such set.

    A calibration has even a reversed network, or one that is fed wrong pixels, look like a modest one.

    Args:
        figures: by engine and set, as :func:`figures` gives them.
        reversed_by: the question where cracks score lower than crack-free windows.
        blind_by: the question where nothing is told apart.
    """
    asked: dict[str, str] = {}
    for sets in figures.values():
        for name, one in sets.items():
            if one["auc"] is None or one.get("auc_interval") is None:
                continue
            if one["auc_interval"][1] < 0.5:
                doubt = f"worse than chance: {reversed_by}"
            elif one["auc"] < 1 - _BLIND_AUC:
                doubt = f"no better than chance, as far as {one['n']} windows tell: {reversed_by} {blind_by}"
            elif one["auc"] < _BLIND_AUC:
                doubt = f"tells nothing apart: {blind_by}"
            else:
                continue
            asked.setdefault(name, f"{name}: AUC {one['auc']:.3f}, {doubt}")
    return list(asked.values())


def _mean_fit(sets: Sequence[tuple[Scores, Labels]], prior: tuple[float, float] | None) -> tuple[float, float]:
    """Scale and bias by the mean scale of all voices and their mean logit of even chance."""
    fits = []
    for group in _voices(sets):
        labels = np.concatenate([label for _, label in group])
        logits = np.concatenate([logit for logit, _ in group])
        fits.append(fit_affine(logits, labels, weights=class_weights(labels), prior=prior))
    scale = float(np.mean([scale for scale, _ in fits]))
    return scale, -scale * float(np.mean([-bias / scale for scale, bias in fits]))


def _voices(sets: Sequence[tuple[Scores, Labels]]) -> list[list[tuple[Scores, Labels]]]:
    """Sets by what is fitted as one: each that has enough items of both classes, and all others together.

    Where those have too few even together they are left out, unless there is nothing else.
    """
    ample = [[one] for one in sets if _rarer([one]) >= FEWEST]
    scant = [one for one in sets if _rarer([one]) < FEWEST]
    return [*ample, scant] if _rarer(scant) >= FEWEST or not ample else ample


def _windows(sets: Sequence[SetLogits]) -> list[tuple[Scores, Labels]]:
    return [(one.window_logits, one.window_labels) for one in sets]


def _rarer(sets: Sequence[tuple[Scores, Labels]]) -> int:
    """Items of the class that there are fewer of."""
    labels = np.concatenate([np.zeros(0, np.bool_), *(labels for _, labels in sets)])
    return min(int(np.count_nonzero(labels)), int(np.count_nonzero(~labels)))


def _operating_points(
    sets: Sequence[SetLogits], masked: Sequence[SetLogits], calibration: Calibration
) -> Mapping[str, OperatingPoint]:
    windows = _counted([(window_scores(one, calibration), one.window_labels) for one in sets if one.window_labels.size])
    cells = [(cell_scores(one, calibration), one.cell_labels) for one in masked]

    def point(name: str, window_threshold: float) -> OperatingPoint:
        rates = [CELL_RATES[name]] * len(cells)
        chosen = choose_threshold(cells, objective="recall", max_false_positive_rate=rates) if cells else 0.5
        return OperatingPoint(_kept(window_threshold), _kept(chosen))

    balanced = 0.5
    if any((metrics.confusion(*one, balanced).false_positive_rate or 0) > BALANCED_RATE for one in windows):
        balanced = choose_threshold(windows, objective="recall", max_false_positive_rate=[BALANCED_RATE] * len(windows))
    recalls: tuple[float | list[float], ...] = (MEAN_RECALL, [LEAST_RECALL] * len(windows))
    high_recall = min(
        choose_threshold(windows, objective="false_positive_rate", min_recall=recall) for recall in recalls
    )
    high_precision = choose_threshold(windows, objective="recall", max_false_positive_rate=HIGH_PRECISION_RATE)
    return {
        "balanced": point("balanced", balanced),
        "high-recall": point("high-recall", min(high_recall, balanced)),
        "high-precision": point("high-precision", max(high_precision, balanced)),
    }


def _counted(sets: Sequence[tuple[Scores, Labels]]) -> list[tuple[Scores, Labels]]:
    """The sets without a class that they have few items of; all of them where one class would be gone from all."""
    kept = []
    for scores, labels in sets:
        enough = [value for value in (True, False) if np.count_nonzero(labels == value) >= FEWEST]
        counts = np.isin(labels, enough)
        kept.append((scores[counts], labels[counts]))
    return kept if _rarer(kept) else list(sets)


def _between(old: OperatingPoint, new: OperatingPoint, weight: float, *, cell_weight: float) -> OperatingPoint:
    """Thresholds between two points', on the scale of logits; weight 1 is the new one."""

    def threshold(one: float, other: float, share: float) -> float:
        return _kept(float(sigmoid((1 - share) * _logit(one) + share * _logit(other))))

    return OperatingPoint(
        threshold(old.window_threshold, new.window_threshold, weight),
        threshold(old.cell_threshold, new.cell_threshold, cell_weight),
    )


def _centred(calibration: Calibration) -> Calibration:
    """The same decisions about windows, by a bias that makes *balanced* an even chance."""
    points = calibration.operating_points
    centre = _logit(points["balanced"].window_threshold) if "balanced" in points else 0.0
    moved = {
        name: OperatingPoint(float(sigmoid(_logit(point.window_threshold) - centre)), point.cell_threshold)
        for name, point in points.items()
    }
    return dataclasses.replace(calibration, bias=calibration.bias - centre, operating_points=moved)


def _logit(threshold: float) -> float:
    inside = _kept(threshold)
    return float(np.log(inside / (1 - inside)))


def _kept(threshold: float) -> float:
    return round(min(max(threshold, _OUTERMOST), 1 - _OUTERMOST), 4)


def _require_both(sets: Sequence[SetLogits]) -> None:
    cracks, others = _counts(sets)
    if cracks and others:
        return
    what = "no window counts" if not cracks and not others else f"{cracks} windows with cracks, {others} without"
    missing = "without cracks in no_crack/" if cracks else "with cracks in crack/"
    raise DataError(f"{_names(sets)}: {what}; a calibration needs some of both: add photographs {missing}")


def _counts(sets: Sequence[SetLogits]) -> tuple[int, int]:
    """Windows with cracks and without."""
    cracks = sum(int(np.count_nonzero(one.window_labels)) for one in sets)
    return cracks, sum(one.window_labels.size for one in sets) - cracks


def _names(sets: Sequence[SetLogits]) -> str:
    return ", ".join(one.name for one in sets)


def _change(before: float | None, after: float | None) -> str:
    return "-" if before is None or after is None else f"{before:.3f} → {after:.3f}"


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
        cell_at_border=logits.cell_at_border[cells],
        cell_beside_crack=logits.cell_beside_crack[cells],
    )


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    def rounded(value: Any) -> Any:
        if isinstance(value, list):
            return [rounded(one) for one in value]
        return round(value, 4) if isinstance(value, float) else value

    return {key: rounded(value) for key, value in values.items()}
