"""From logits to probabilities, and from probabilities to decisions: the affine fit and the thresholds of a card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from crackedge.benchmarks.metrics import Labels, Scores
from crackedge.edge_runtime.errors import DataError, OptionError

Weights = npt.NDArray[np.floating]  # (N,) >= 0
Objective = Literal["recall", "false_positive_rate"]

_RIDGE = 1e-3  # weight of half the squared slope per standard deviation of the logits, beside the mean log loss
_LEAST_SLOPE = 1e-2  # per standard deviation of the logits: a useless model stays monotone
_NEWTON_STEPS = 100
_PRIOR_SPREAD = (0.5, 1.5)  # what a site's own slope and offset differ by, where a calibration made elsewhere says 1, 0
_LEAST_OF_PRIOR = 0.1  # of its scale: as above


def fit_affine(
    logits: Scores,
    labels: Labels,
    *,
    weights: Weights | None = None,
    prior: tuple[float, float] | None = None,
) -> tuple[float, float]:
    """Scale and bias for which ``sigmoid(scale * logit + bias)`` is the probability of a crack.

    Logistic regression in one dimension (Platt's scaling). Two things keep it finite on data that a threshold
    separates: Platt's targets, (n + 1) / (n + 2) instead of 1, and a slight ridge on the slope. The scale is always
    positive, so that the order of scores, and with it AUC, is the network's own; where the data say the opposite it is
    merely small.

    With a prior, the fit is the most probable one for a site where the prior's logits need a slope of 1 ± 0.5 and an
    offset of 0 ± 1.5, as data sets of other cameras did: ten items move the offset, hundreds outvote the prior.

    Args:
        logits: (N,) any float.
        labels: (N,) True for crack.
        weights: (N,) how much each counts; their sum does not matter. None: all the same.
        prior: scale and bias of a calibration to start from and to stay near to, scale > 0.

    Raises:
        DataError: shapes differ, figures are not finite, or one class is missing.
    """
    z = np.asarray(logits, np.float64)
    y = np.asarray(labels).astype(np.bool_)
    w = np.ones_like(z) if weights is None else np.asarray(weights, np.float64)
    if z.ndim != 1 or z.shape != y.shape or z.shape != w.shape:
        raise DataError(f"logits {z.shape}, labels {y.shape}, weights {w.shape}: expected arrays (N,) of one length")
    if not (np.isfinite(z).all() and np.isfinite(w).all() and (w >= 0).all()):
        raise DataError("logits and weights: expected finite figures, weights not negative")
    used = w > 0
    z, y, w = z[used], y[used], w[used]
    if not y.any() or y.all():
        raise DataError(f"{y.size} items of one class: a calibration needs items with and without cracks")
    w = w / w.sum()
    if prior is not None:
        return _near(prior, z, y, w)
    centre = float(w @ z)
    spread = float(np.sqrt(w @ (z - centre) ** 2))
    targets = _platt_targets(y, w)
    if spread <= 1e-9 * max(1.0, abs(centre)):
        rate = float(w @ targets)
        return 1.0, float(np.log(rate / (1 - rate)) - centre)
    unit = (z - centre) / spread
    slope, offset = _newton(unit, targets, w, penalty=(_RIDGE, 0), towards=(0, 0), least_slope=_LEAST_SLOPE)
    return slope / spread, offset - slope * centre / spread


def class_weights(labels: Labels) -> Weights:
    """Weights with which the two classes of a set count the same; their sum is 1.

    Args:
        labels: (N,) True for crack, of both classes.

    Returns:
        (N,) float64.
    """
    cracks = np.asarray(labels).astype(np.bool_)
    return np.where(cracks, 0.5 / np.count_nonzero(cracks), 0.5 / np.count_nonzero(~cracks))


def choose_threshold(
    sets: Sequence[tuple[Scores, Labels]],
    *,
    objective: Objective,
    min_recall: float | Sequence[float | None] | None = None,
    max_false_positive_rate: float | Sequence[float | None] | None = None,
) -> float:
    """The best threshold for several sets at once, each weighing the same however many items it has.

    Recall is the mean over the sets with cracks, false-positive rate the mean over the sets with crack-free items.
    The threshold lies midway between two scores that occur: least at the mercy of single items. Beyond each score a
    recall or a rate is another, so that one threshold is the best.

    Args:
        sets: pairs of scores (N,), probabilities, and labels (N,).
        objective: what to make best within the limits: the highest ``recall``, or the lowest ``false_positive_rate``.
        min_recall: for the mean, or a sequence with one figure (or None) for each set.
        max_false_positive_rate: for the mean, or a sequence with one figure (or None) for each set.

    Raises:
        DataError: no set with cracks, or none without, or no threshold keeps the limits.
        OptionError: limits of another number than the sets.
    """
    recalls, rates, thresholds = _sweep(sets)
    mean_recall = _mean_known(recalls, "cracks")
    mean_rate = _mean_known(rates, "crack-free items")
    gains = [mean_recall, -mean_rate] if objective == "recall" else [-mean_rate, mean_recall]
    allowed = np.ones(thresholds.size, np.bool_)
    for limit, each, mean, sign in (
        (min_recall, recalls, mean_recall, 1.0),
        (max_false_positive_rate, rates, mean_rate, -1.0),
    ):
        for figures, figure in _limits(limit, each, mean):
            allowed &= sign * figures >= sign * figure - 1e-12
    if not allowed.any():
        raise DataError(
            f"no threshold keeps recall >= {min_recall} and false-positive rate <= {max_false_positive_rate}"
            " on these sets; relax one of them"
        )
    best = np.flatnonzero(allowed)
    for gain in gains:
        best = best[gain[best] >= gain[best].max() - 1e-12]
    return float(thresholds[best[0]])


def sigmoid(z: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Probability of a logit, exact at both ends."""
    z = np.asarray(z, np.float64)
    small = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1.0, small) / (1 + small), np.float64)


def _platt_targets(y: Labels, w: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Targets a little inside (0, 1); counts are effective ones, so that weights do not feign more data."""
    effective = 1 / float(w @ w)  # Kish: n for equal weights that sum to 1
    cracks = max(1.0, effective * float(w[y].sum()))
    others = max(1.0, effective * float(w[~y].sum()))
    return np.where(y, (cracks + 1) / (cracks + 2), 1 / (others + 2))


def _near(
    prior: tuple[float, float], z: npt.NDArray[np.float64], y: Labels, w: npt.NDArray[np.float64]
) -> tuple[float, float]:
    """Scale and bias by a prior and items, whose weights sum to 1."""
    scale, bias = prior
    effective = 1 / float(w @ w)
    penalty = tuple(1 / (spread**2 * effective) for spread in _PRIOR_SPREAD)
    slope, offset = _newton(
        scale * z + bias, y.astype(np.float64), w, penalty=penalty, towards=(1, 0), least_slope=_LEAST_OF_PRIOR
    )
    return slope * scale, slope * bias + offset


def _newton(
    x: npt.NDArray[np.float64],
    targets: npt.NDArray[np.float64],
    w: npt.NDArray[np.float64],
    *,
    penalty: tuple[float, ...],
    towards: tuple[float, float],
    least_slope: float,
) -> tuple[float, float]:
    """Slope and offset of least mean log loss, plus half the penalty times their squared distance from ``towards``."""
    found = _descend(x, targets, w, np.array(penalty), np.array(towards, np.float64), np.array([1.0, 0.0]), first=0)
    if found[0] < least_slope:
        start = np.array([least_slope, 0.0])
        found = _descend(x, targets, w, np.array(penalty), np.array(towards, np.float64), start, first=1)
    return float(found[0]), float(found[1])


def _descend(
    x: npt.NDArray[np.float64],
    targets: npt.NDArray[np.float64],
    w: npt.NDArray[np.float64],
    penalty: npt.NDArray[np.float64],
    towards: npt.NDArray[np.float64],
    start: npt.NDArray[np.float64],
    *,
    first: int,
) -> npt.NDArray[np.float64]:
    """Newton with halved steps for slope and offset, or, with ``first`` 1, the offset alone; the problem is convex."""

    def loss(p: npt.NDArray[np.float64]) -> float:
        z = p[0] * x + p[1]
        return float(w @ (np.logaddexp(0, z) - targets * z) + penalty @ (p - towards) ** 2 / 2)

    point, value = start, loss(start)
    for _ in range(_NEWTON_STEPS):
        p = sigmoid(point[0] * x + point[1])
        error, curve = w * (p - targets), w * p * (1 - p)
        gradient = np.array([float(error @ x), float(error.sum())]) + penalty * (point - towards)
        cross = float(curve @ x)
        hessian = np.array([[float(curve @ x**2), cross], [cross, float(curve.sum())]]) + np.diag(penalty)
        hessian += 1e-9 * np.eye(2)  # far out on both sides the curve is flat
        step = np.zeros(2)
        step[first:] = np.linalg.solve(hessian[first:, first:], gradient[first:])
        size = 1.0
        while (new := loss(point - size * step)) > value and size > 1e-9:
            size /= 2
        if new >= value:
            break
        point, value, gained = point - size * step, new, value - new
        if gained < 1e-14:
            break
    return point


def _sweep(
    sets: Sequence[tuple[Scores, Labels]],
) -> tuple[
    list[npt.NDArray[np.float64] | None],
    list[npt.NDArray[np.float64] | None],
    npt.NDArray[np.float64],
]:
    """Recall and false-positive rate of each set (None where it has none) at every threshold worth a look."""
    pairs = [(np.asarray(scores, np.float64), np.asarray(labels).astype(np.bool_)) for scores, labels in sets]
    for scores, labels in pairs:
        if scores.ndim != 1 or scores.shape != labels.shape or not np.isfinite(scores).all():
            raise DataError(f"scores {scores.shape} and labels {labels.shape}: expected finite arrays (N,)")
    occurring = np.unique(np.concatenate([scores for scores, _ in pairs] or [np.zeros(0)]))
    if not occurring.size:
        raise DataError("no scores at all: a threshold needs items with and without cracks")
    if occurring[0] < 0 or occurring[-1] > 1:
        raise DataError(f"scores from {occurring[0]:g} to {occurring[-1]:g}: expected probabilities")
    between = (occurring[1:] + occurring[:-1]) / 2
    thresholds = np.unique(np.concatenate([[occurring[0] / 2], between, [(occurring[-1] + 1) / 2]]))
    recalls: list[npt.NDArray[np.float64] | None] = []
    rates: list[npt.NDArray[np.float64] | None] = []
    for scores, labels in pairs:
        cracks, others = np.sort(scores[labels]), np.sort(scores[~labels])
        hits = cracks.size - np.searchsorted(cracks, thresholds, side="left").astype(np.float64)
        alarms = others.size - np.searchsorted(others, thresholds, side="left").astype(np.float64)
        recalls.append(hits / cracks.size if cracks.size else None)
        rates.append(alarms / others.size if others.size else None)
    return recalls, rates, thresholds


def _mean_known(figures: list[npt.NDArray[np.float64] | None], what: str) -> npt.NDArray[np.float64]:
    known = [figure for figure in figures if figure is not None]
    if not known:
        raise DataError(f"no set holds {what}: a threshold needs items with and without cracks")
    return np.asarray(np.mean(known, axis=0), np.float64)


def _limits(
    limit: float | Sequence[float | None] | None,
    each: list[npt.NDArray[np.float64] | None],
    mean: npt.NDArray[np.float64],
) -> list[tuple[npt.NDArray[np.float64], float]]:
    """Pairs of figures by threshold and what they are held to."""
    if limit is None:
        return []
    if isinstance(limit, int | float):
        return [(mean, float(limit))]
    if len(limit) != len(each):
        raise OptionError(
            f"{len(limit)} limits for {len(each)} sets: expected one for each, or one figure for the mean"
        )
    return [
        (figures, figure)
        for figures, figure in zip(each, limit, strict=True)
        if figures is not None and figure is not None
    ]
