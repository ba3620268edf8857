"""Charts of a training run: how it went over the epochs, and how its scores tell cracks from the rest.

Each function draws on one ``matplotlib`` axes. ``styles`` gives the line of each validation set: :func:`set_styles`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from crackedge.benchmarks.calibration import sigmoid
from crackedge.benchmarks.metrics import ECE_BINS, sweep
from crackedge.train.phases import History
from crackedge.train.validation import SetScores

Chart = Callable[[Axes], None]
Styles = Mapping[str, Mapping[str, Any]]

_COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")
_LINES = ("solid", "dashed", "dotted")
_SURE_WINDOWS = 10  # of a bin, for its share of cracks to be worth a line
_SIZE_IN = (4.6, 3.4)  # inches, of one chart
_SETTINGS = {
    "font.size": 9,
    "svg.fonttype": "none",  # letters stay text: small files
    "svg.hashsalt": "crackedge",  # the same run, the same bytes
    "text.parse_math": False,  # a set may be named a$b$
}


def set_styles(names: Iterable[str]) -> Styles:
    """A line style for each set: ``color`` (#rrggbb) and ``linestyle`` (as in CSS too)."""
    return {
        name: {"color": _COLORS[index % len(_COLORS)], "linestyle": _LINES[index // len(_COLORS) % len(_LINES)]}
        for index, name in enumerate(names)
    }


def save(file: Any, *charts: Chart, file_format: str) -> None:
    """Draw charts side by side and write them.

    Args:
        file: a path, or a binary file open for writing.
        charts: what to draw.
        file_format: ``"svg"`` or ``"png"``.

    Raises:
        OSError: it cannot be written.
    """
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # of a set's name, missing in matplotlib's font
        figure = Figure(figsize=(_SIZE_IN[0] * len(charts), _SIZE_IN[1]), layout="constrained")
        for chart, axes in zip(charts, figure.subplots(1, len(charts), squeeze=False)[0], strict=True):
            axes.grid(alpha=0.3)
            chart(axes)
        undated = {"Date": None} if file_format == "svg" else None
        figure.savefig(file, format=file_format, dpi=110, metadata=undated)


def loss(axes: Axes, history: History) -> None:
    """Training and validation loss of each epoch."""
    for key, label in (("loss", "training"), ("val_loss", "validation")):
        if any(line[key] is not None for line in history):
            _by_epoch(axes, history, [line[key] for line in history], label=label)
    axes.set_ylabel("loss")
    if axes.lines:
        axes.legend()


def learning_rate(axes: Axes, history: History) -> None:
    """Learning rate at the end of each epoch."""
    _by_epoch(axes, history, [line["learning_rate"] for line in history], color="black")
    axes.set_ylabel("learning rate")


def accuracy(axes: Axes, history: History, styles: Styles) -> None:
    """Share of each set's windows that are decided rightly at 0.5: of one class, recall or true-negative rate."""
    for name, figures in _val(history):
        shares = [_share_right(one.get("confusion")) for one in figures]
        _by_epoch(axes, history, shares, label=_label(name), **styles[name])
    axes.set_ylabel("accuracy at 0.5")


def auc(axes: Axes, history: History, styles: Styles) -> None:
    """AUC of each set that has both classes."""
    for name, figures in _val(history):
        if any(one.get("auc") is not None for one in figures):
            _by_epoch(axes, history, [one.get("auc") for one in figures], label=_label(name), **styles[name])
    axes.set_ylabel("AUC")


def with_legend(axes: Axes, chart: Chart) -> None:
    """A chart, with a legend where its lines have names."""
    chart(axes)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize="x-small")


def roc(axes: Axes, scores: Sequence[SetScores], styles: Styles) -> None:
    """Recall over false-positive rate at every threshold, of sets that have both classes."""
    axes.plot([0, 1], [0, 1], color="silver", linewidth=1)
    for one in scores:
        hits, alarms = sweep(one.logits, one.labels)
        rates = np.insert(alarms / alarms[-1], 0, 0), np.insert(hits / hits[-1], 0, 0)
        axes.plot(*rates, linewidth=1.3, **styles[one.name])
    axes.set(xlabel="false-positive rate", ylabel="recall", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


def precision_recall(axes: Axes, scores: Sequence[SetScores], styles: Styles) -> None:
    """Precision over recall at every threshold, of sets that have both classes; the area is the average precision."""
    for one in scores:
        hits, alarms = sweep(one.logits, one.labels)
        precision = hits / (hits + alarms)
        points = np.insert(hits / hits[-1], 0, 0), np.insert(precision, 0, precision[0])
        axes.plot(*points, linewidth=1.3, drawstyle="steps-pre", **styles[one.name])
    axes.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


def reliability(axes: Axes, scores: Sequence[SetScores], styles: Styles) -> None:
    """Share of cracks over mean score, in the bins of the calibration error, of sets that have both classes.

    A dot's area is the bin's share of the windows; the line leaves out what a few windows say.
    """
    axes.plot([0, 1], [0, 1], color="silver", linewidth=1)
    for one in scores:
        probability, labels = sigmoid(one.logits), one.labels
        bins = np.minimum((probability * ECE_BINS).astype(np.intp), ECE_BINS - 1)
        counts = np.bincount(bins, minlength=ECE_BINS)
        used = counts > 0
        said = np.bincount(bins, probability, ECE_BINS)[used] / counts[used]
        true = np.bincount(bins, labels, ECE_BINS)[used] / counts[used]
        sure = counts[used] >= _SURE_WINDOWS
        axes.plot(said[sure], true[sure], linewidth=1, alpha=0.7, **styles[one.name])
        axes.scatter(said, true, s=4 + 150 * counts[used] / labels.size, color=styles[one.name]["color"], alpha=0.7)
    axes.set(xlabel="mean score", ylabel="share of cracks", xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))


def has_both_classes(scores: SetScores) -> bool:
    """Whether a set can give a curve of two rates."""
    return bool(scores.labels.any()) and not bool(scores.labels.all())


def _by_epoch(axes: Axes, history: History, values: list[float | None], **style: Any) -> None:
    known = [np.nan if value is None else value for value in values]
    axes.plot([line["epoch"] for line in history], known, marker=".", linewidth=1.3, **style)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _val(history: History) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """The figures of each set, epoch by epoch; empty where an epoch has none."""
    names = sorted({name for line in history for name in line["val"]})
    return [(name, [line["val"].get(name, {}) for line in history]) for name in names]


def _share_right(confusion: Mapping[str, int] | None) -> float | None:
    if confusion is None:
        return None
    return (confusion["true_crack"] + confusion["true_no_crack"]) / sum(confusion.values())


def _label(name: str) -> str:
    """As a legend can show it: without halves of characters, and not beginning with what would hide it there."""
    return " " + name.encode("utf-8", "replace").decode()
