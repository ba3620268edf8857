"""Between which bounds figures of a labelled set lie, by drawing its pictures anew.

Windows of one picture resemble each other, so whole pictures are drawn, with all that they hold (cluster bootstrap). Of
the draws the standard error is taken, on the scale of logits where a figure is a share: a share near 1 has a long side
and a short one, and percentiles of the draws would leave out the true one too often. Few pictures make an error too
small; Student's t and the factor R / (R - 1) on the variance put it right (Hesterberg, *What Teachers Should Know about
the Bootstrap*, 2015).

A figure of exactly 0 or 1 has no error in any draw. A rate r gives R independent pictures without one mistake with a
chance of at most r^R, so the far end is where that falls to 2.5 %. For an AUC, R counts disjoint pairs.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from crackedge.benchmarks import metrics
from crackedge.benchmarks.calibration import sigmoid
from crackedge.benchmarks.intervals import CONFIDENCE, student_t
from crackedge.benchmarks.metrics import Labels, Scores
from crackedge.edge_runtime.errors import DataError

RESAMPLES = 1000

Pictures = npt.NDArray[np.integer]  # (N,) the number of the picture that each item is of
Resampled = npt.NDArray[np.float64]  # (1000,) a figure of each draw; NaN where a draw has no such figure
Weights = npt.NDArray[np.float32]  # (K, 1000) how often each draw has each of K pictures
Interval = list[float]  # low, high

_SEED = 8
_AT_ONCE = 2_000_000  # weights of items: some 16 MB


def intervals(scores: Scores, labels: Labels, pictures: Pictures, *, threshold: float) -> dict[str, Interval | None]:
    """The 95 % intervals of what :func:`crackedge.benchmarks.metrics.summary` says, as ``NAME_interval``.

    None where there is no such figure, or fewer than two pictures (pairs of pictures for ``auc``) to tell it from.

    Args:
        scores: (N,) higher is more crack.
        labels: (N,) True for crack.
        pictures: (N,) the picture of each.
        threshold: a score at or above it says crack.

    Raises:
        DataError: arrays of different lengths, or scores that are not finite.
    """
    if pictures.shape != labels.shape:
        raise DataError(f"labels {labels.shape} and pictures {pictures.shape}: expected two arrays (N,)")
    both = metrics.auc(scores, labels) is not None
    said = scores >= threshold
    found, picture = np.unique(pictures, return_inverse=True)
    weights = draws(found.size)
    return {
        "accuracy_interval": _share_interval(weights, said == labels, picture) if both else None,
        "recall_interval": _share_interval(weights, said[labels], picture[labels]),
        "false_positive_rate_interval": _share_interval(weights, said[~labels], picture[~labels]),
        "auc_interval": _auc_interval(weights, scores, labels, picture),
    }


def share_interval(hits: Labels, pictures: Pictures) -> Interval | None:
    """The 95 % interval of a share of items; None with fewer than two pictures.

    Args:
        hits: (N,) bool, whether an item is of the share.
        pictures: (N,) the picture of each.
    """
    found, picture = np.unique(pictures, return_inverse=True)
    return _share_interval(draws(found.size), hits, picture)


def difference_interval(difference: float, resampled: Resampled, units: int) -> Interval | None:
    """The 95 % interval of a difference of two figures of the same pictures; None with fewer than two units.

    Args:
        difference: of the pictures as they are.
        resampled: the same of each draw.
        units: how many independent pictures or pairs tell it.
    """
    if units < 2:
        return None
    half = _half_width(resampled, units)
    return [difference - half, difference + half]


def draws(pictures: int) -> Weights:
    """How often each draw has each of so many pictures; the same for the same number."""
    rng = np.random.default_rng(_SEED)
    drawn = rng.integers(0, pictures, (RESAMPLES, pictures))
    drawn += np.arange(RESAMPLES)[:, None] * pictures
    counts = np.bincount(drawn.ravel(), minlength=RESAMPLES * pictures).reshape(RESAMPLES, pictures)
    return np.ascontiguousarray(counts.T, np.float32)


def resampled_share(weights: Weights, hits: Labels, pictures: Pictures) -> Resampled:
    """The share of hits among the items of each draw; NaN where a draw has no items.

    Args:
        weights: from :func:`draws`.
        hits: (N,) bool.
        pictures: (N,) below K.
    """
    counts = np.stack([np.bincount(pictures, weights=part, minlength=len(weights)) for part in (hits, ~hits)])
    got, rest = counts.astype(np.float32) @ weights  # whole numbers below 2^24: exact
    with np.errstate(invalid="ignore"):
        return np.asarray(got / (got + rest), np.float64)


def resampled_auc(weights: Weights, scores: Scores, labels: Labels, pictures: Pictures) -> Resampled:
    """Area under the ROC curve of each draw, equal scores counting half; NaN where a draw lacks a class.

    Args:
        weights: from :func:`draws`.
        scores: (N,) higher is more crack.
        labels: (N,) True for crack.
        pictures: (N,) below K.
    """
    order = np.argsort(scores[~labels], kind="stable")
    others, cracks = scores[~labels][order], scores[labels]
    of_others, of_cracks = pictures[~labels][order], pictures[labels]
    below, up_to = (np.searchsorted(others, cracks, side=side) for side in ("left", "right"))
    areas = np.empty(weights.shape[1])
    step = max(1, _AT_ONCE // max(1, labels.size))
    for start in range(0, areas.size, step):
        part = weights[:, start : start + step].astype(np.float64)
        beaten = np.concatenate([np.zeros((1, part.shape[1])), np.cumsum(part[of_others], axis=0)])
        of_crack = part[of_cracks]
        wins = np.einsum("ij,ij->j", of_crack, beaten[below] + beaten[up_to]) / 2
        with np.errstate(invalid="ignore"):
            areas[start : start + step] = wins / (of_crack.sum(axis=0) * beaten[-1])
    return areas


def pairs(labels: Labels, pictures: Pictures) -> int:
    """How many pairs of a picture with cracks and another without can be told apart, none being in two of them."""
    cracked, free = np.unique(pictures[labels]).size, np.unique(pictures[~labels]).size
    return min(cracked, free, np.unique(pictures).size // 2)


def _share_interval(weights: Weights, hits: Labels, pictures: Pictures) -> Interval | None:
    units = np.unique(pictures).size
    if not units:
        return None
    return _within_one(float(hits.mean()), resampled_share(weights, hits, pictures), units)


def _auc_interval(weights: Weights, scores: Scores, labels: Labels, pictures: Pictures) -> Interval | None:
    area = metrics.auc(scores, labels)
    if area is None:
        return None
    return _within_one(area, resampled_auc(weights, scores, labels, pictures), pairs(labels, pictures))


def _within_one(share: float, resampled: Resampled, units: int) -> Interval | None:
    """The interval of a figure between 0 and 1."""
    if units < 2:
        return None
    if share in (0, 1):
        far = ((1 - CONFIDENCE) / 2) ** (1 / units)
        return [far, 1.0] if share == 1 else [0.0, 1 - far]
    half = _half_width(resampled, units) / (share * (1 - share))
    centre = math.log(share / (1 - share))
    return [float(sigmoid(centre - half)), float(sigmoid(centre + half))]


def _half_width(resampled: Resampled, units: int) -> float:
    error = float(np.nanstd(resampled)) * math.sqrt(units / (units - 1))
    return student_t(1 - (1 - CONFIDENCE) / 2, units - 1) * error
