"""Figures of merit for scores against labels. numpy only, equal scores handled exactly.

Every function takes ``scores`` (N,) float, higher is more crack, and ``labels`` (N,) bool, True is crack.
A score at or above a threshold says crack. A figure that a set cannot give (AUC of one class) is None, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.errors import DataError

Scores = npt.NDArray[np.floating]  # (N,)
Labels = npt.NDArray[np.bool_]  # (N,)

ECE_BINS = 15


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts at one threshold: the first word is right or wrong, the second what the model said."""

    true_crack: int
    false_crack: int
    true_no_crack: int
    false_no_crack: int

    @property
    def accuracy(self) -> float | None:
        """Share of right decisions."""
        right = self.true_crack + self.true_no_crack
        return _ratio(right, right + self.false_crack + self.false_no_crack)

    @property
    def precision(self) -> float | None:
        """Share of cracks among what was called crack."""
        return _ratio(self.true_crack, self.true_crack + self.false_crack)

    @property
    def recall(self) -> float | None:
        """Share of the cracks that was called crack."""
        return _ratio(self.true_crack, self.true_crack + self.false_no_crack)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall."""
        return _ratio(2 * self.true_crack, 2 * self.true_crack + self.false_crack + self.false_no_crack)

    @property
    def false_positive_rate(self) -> float | None:
        """Share of the crack-free that was called crack."""
        return _ratio(self.false_crack, self.false_crack + self.true_no_crack)


def confusion(scores: Scores, labels: Labels, threshold: float) -> Confusion:
    """Counts of decisions at ``score >= threshold``."""
    scores, labels = _checked(scores, labels)
    said = scores >= threshold
    return Confusion(
        true_crack=int(np.count_nonzero(said & labels)),
        false_crack=int(np.count_nonzero(said & ~labels)),
        true_no_crack=int(np.count_nonzero(~said & ~labels)),
        false_no_crack=int(np.count_nonzero(~said & labels)),
    )


def auc(scores: Scores, labels: Labels) -> float | None:
    """Area under the ROC curve: chance that a crack scores above a crack-free window, equal scores counting half."""
    scores, labels = _checked(scores, labels)
    cracks = int(np.count_nonzero(labels))
    others = labels.size - cracks
    if not cracks or not others:
        return None
    _, group, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last_rank = np.cumsum(counts)
    mean_rank = last_rank - (counts - 1) / 2
    rank_sum = float(mean_rank[group][labels].sum())
    return (rank_sum - cracks * (cracks + 1) / 2) / (cracks * others)


def average_precision(scores: Scores, labels: Labels) -> float | None:
    """Area under the precision-recall steps, without interpolation; equal scores enter together."""
    scores, labels = _checked(scores, labels)
    cracks = int(np.count_nonzero(labels))
    if not cracks or cracks == labels.size:
        return None
    hits, alarms = sweep(scores, labels)
    return float((hits / (hits + alarms) * np.diff(hits, prepend=0)).sum() / cracks)


def sweep(scores: Scores, labels: Labels) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Cracks and crack-free windows called crack, at each score that occurs as threshold, from the highest down."""
    scores, labels = _checked(scores, labels)
    _, group = np.unique(-scores, return_inverse=True)
    return np.cumsum(np.bincount(group, labels)), np.cumsum(np.bincount(group, ~labels))


def calibration_error(scores: Scores, labels: Labels, *, bins: int = ECE_BINS) -> float | None:
    """Expected calibration error: mean distance of a bin's score from its share of cracks, over bins of equal width.

    Args:
        scores: probabilities in [0, 1].
        labels: True for crack.
        bins: how many; a score of 1 belongs to the last.
    """
    scores, labels = _checked(scores, labels)
    if not scores.size:
        return None
    if scores.min() < 0 or scores.max() > 1:
        raise DataError(f"scores from {scores.min():g} to {scores.max():g}: a calibration error needs probabilities")
    index = np.minimum((scores * bins).astype(np.intp), bins - 1)
    gap = np.bincount(index, weights=scores - labels, minlength=bins)
    return float(np.abs(gap).sum() / scores.size)


def summary(scores: Scores, labels: Labels, *, threshold: float) -> dict[str, float | int | dict[str, int] | None]:
    """All figures of one set at one threshold, as they stand in an evaluation's JSON.

    A set of one class gives recall or false-positive rate, its counts and its calibration error; the figures that
    compare the classes are None, so that nobody reads a one-class accuracy as one.
    """
    scores, labels = _checked(scores, labels)
    counts = confusion(scores, labels, threshold)
    both = bool(labels.any()) and not bool(labels.all())
    return {
        "n_crack": int(np.count_nonzero(labels)),
        "n_no_crack": int(np.count_nonzero(~labels)),
        "accuracy": counts.accuracy if both else None,
        "precision": counts.precision if both else None,
        "recall": counts.recall,
        "f1": counts.f1 if both else None,
        "false_positive_rate": counts.false_positive_rate,
        "auc": auc(scores, labels),
        "average_precision": average_precision(scores, labels),
        "ece": calibration_error(scores, labels),
        "confusion": {
            "true_crack": counts.true_crack,
            "false_crack": counts.false_crack,
            "true_no_crack": counts.true_no_crack,
            "false_no_crack": counts.false_no_crack,
        },
        "threshold": threshold,
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _checked(scores: Scores, labels: Labels) -> tuple[npt.NDArray[np.float64], Labels]:
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise DataError(f"scores {scores.shape} and labels {labels.shape}: expected two arrays (N,)")
    if not np.isfinite(scores).all():
        raise DataError(f"{np.count_nonzero(~np.isfinite(scores))} of {scores.size} scores are not finite")
    return np.asarray(scores, np.float64), labels.astype(np.bool_)
