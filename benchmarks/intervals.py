"""Percentiles of latencies, and between which bounds the true ones lie.

- A percentile is a time that was really measured (nearest rank).
- Within one process its interval is that of order statistics, which assumes no shape, only that calls do not depend on
  each other (Conover, *Practical Nonparametric Statistics*, 3rd ed., section 3.2).
- Processes differ more than calls within one: where memory lies, which core starts. So with several processes the
  interval comes from drawing whole processes anew (bootstrap). Few of them make that too narrow; Student's t and the
  factor R / (R - 1) on the variance put it right (Hesterberg, *What Teachers Should Know about the Bootstrap*, 2015).
- The bound on p90 is that of MLPerf's single stream; see :func:`early_stopping`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.errors import OptionError

PERCENTILES = (50, 90, 99)
CONFIDENCE = 0.95
STOPPING_CONFIDENCE = 0.99  # MLPerf's

_RESAMPLES = 500
_ANGLES = 4_000

Samples = Sequence[float] | npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and the ends of its interval; an end is None where the samples are too few to have one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """The bound of MLPerf's single stream.

    Attributes:
        percent: of the percentile.
        confidence: that the true percentile is no larger.
        bound: None where there are too few samples.
        discarded: samples above the bound.
        least_samples: from how many on there is a bound.
    """

    percent: float
    confidence: float
    bound: float | None
    discarded: int
    least_samples: int


def percentile(samples: Samples, percent: float) -> float:
    """The smallest sample that at least ``percent`` of all do not exceed (nearest rank).

    Raises:
        OptionError: no samples, or a percentage outside 0..100.
    """
    if not len(samples) or not 0 < percent <= 100:
        raise OptionError(f"percentile {percent} of {len(samples)} samples: expected 0 to 100 of at least one")
    return float(np.partition(samples, _rank(len(samples), percent))[_rank(len(samples), percent)])


def spread(processes: Sequence[Samples]) -> dict[str, Any]:
    """Number, percentiles with their intervals, maximum and mean; ready to be written as JSON.

    Args:
        processes: the samples of each process, at least one each.
    """
    pooled = np.concatenate([np.asarray(samples, np.float64) for samples in processes])
    return {
        "n": len(pooled),
        "processes": len(processes),
        **{f"p{percent}": asdict(estimate(processes, percent)) for percent in PERCENTILES},
        "max": float(pooled.max()),
        "mean": math.fsum(pooled) / len(pooled),
    }


def estimate(processes: Sequence[Samples], percent: float, *, confidence: float = CONFIDENCE) -> Estimate:
    """A percentile of all samples, and its interval: of one process by order statistics, of several by bootstrap.

    Raises:
        OptionError: no samples, or a percentage outside 0..100.
    """
    pooled = [sample for samples in processes for sample in samples]
    if len(processes) == 1:
        return order_statistics(pooled, percent, confidence=confidence)
    value = percentile(pooled, percent)
    error = standard_error(processes, percent)
    half = student_t(1 - (1 - confidence) / 2, len(processes) - 1) * error
    return Estimate(value, value * math.exp(-half), value * math.exp(half))


def order_statistics(samples: Samples, percent: float, *, confidence: float = CONFIDENCE) -> Estimate:
    """A percentile and two samples between which the true one lies with at least this confidence.

    How many samples are below the true percentile is binomial, so its tails say which ranks hold it. An end is None
    where even the extreme sample is not far enough out.

    Raises:
        OptionError: no samples, or a percentage outside 0..100.
    """
    value, count, tail = percentile(samples, percent), len(samples), (1 - confidence) / 2
    ordered = np.sort(np.asarray(samples, np.float64))
    below = np.cumsum(np.exp(_log_binomial(count, percent / 100)))  # [k]: at most k samples below the true percentile
    lows = np.flatnonzero(below <= tail)  # then the sample with k others before it is above no more often than that
    highs = np.flatnonzero(1 - below <= tail + 1e-12)
    low = float(ordered[lows[-1]]) if lows.size else None
    high = float(ordered[highs[0]]) if highs.size and highs[0] < count else None
    return Estimate(value, low, high)


def standard_error(processes: Sequence[Samples], percent: float) -> float:
    """Of the logarithm of a percentile of all samples, by drawing processes anew; 0.02 is two per cent.

    Raises:
        OptionError: fewer than two processes: what differs between them cannot be seen.
    """
    count = len(processes)
    if count < 2:
        raise OptionError(f"{count} processes: expected at least 2; measure again with more --restarts")
    arrays = [np.maximum(np.asarray(samples, np.float64), 1e-9) for samples in processes]
    rng = np.random.default_rng(0)
    if all(len(samples) == 1 for samples in arrays):  # every sample is a process, as in `cold`
        drawn = rng.choice(np.concatenate(arrays), size=(_RESAMPLES, count))
        figures = np.partition(drawn, _rank(count, percent), axis=1)[:, _rank(count, percent)]
        return float(np.std(np.log(figures))) * math.sqrt(count / (count - 1))
    draws = np.sort(rng.integers(count, size=(_RESAMPLES, count)), axis=1)
    kinds, often = np.unique(draws, axis=0, return_counts=True)  # few processes can be drawn in few ways
    logs = np.log([percentile(np.concatenate([arrays[number] for number in kind]), percent) for kind in kinds])
    variance = np.average((logs - np.average(logs, weights=often)) ** 2, weights=often)
    return math.sqrt(float(variance) * count / (count - 1))


def early_stopping(samples: Samples, *, percent: float = 90, confidence: float = STOPPING_CONFIDENCE) -> EarlyStopping:
    """A bound that the true percentile exceeds with at most this little doubt, as MLPerf's single stream reports it.

    If more than ``1 - percent`` of all calls took longer than x, then so few, t or less, among n would do so only with
    probability P[Binomial(n, 1 - percent) <= t]. The largest t for which that is at most ``1 - confidence`` is taken;
    t - 1 samples are discarded and the largest of the others is the bound (LoadGen, ``early_stopping.cc`` and
    ``results.cc``, tolerance 0). There is one from t = 1 on: 64 samples for p90 at 0.99.

    Raises:
        OptionError: a percentage or confidence outside 0..100 and 0..1.
    """
    if not (0 < percent < 100 and 0 < confidence < 1):
        raise OptionError(f"percentile {percent} at confidence {confidence}: expected 0 to 100 and 0 to 1, no ends")
    least = least_samples(percent, confidence)
    count = len(samples)
    if count < least:
        return EarlyStopping(percent, confidence, None, 0, least)
    above = np.cumsum(np.exp(_log_binomial(count, 1 - percent / 100)))  # [t]: at most t of them take longer
    t = int(np.flatnonzero(above <= 1 - confidence)[-1])
    return EarlyStopping(percent, confidence, float(np.sort(samples)[count - t]), t - 1, least)


@functools.cache
def least_samples(percent: float, confidence: float) -> int:
    """From how many samples on :func:`early_stopping` has a bound."""
    rest = percent / 100
    count = 2
    while rest**count + count * (1 - rest) * rest ** (count - 1) > 1 - confidence:
        count += 1
    return count


@functools.cache
def student_t(probability: float, freedom: float) -> float:
    """The quantile of Student's t distribution; of the normal one for many degrees of freedom."""
    angles = (np.arange(_ANGLES) + 0.5) * math.pi / _ANGLES - math.pi / 2  # t = sqrt(freedom) tan(angle)
    density = np.cos(angles) ** (max(freedom, 1.0) - 1)
    cumulative = np.cumsum(density) - density / 2
    angle = float(np.interp(probability, cumulative / density.sum(), angles))
    return math.sqrt(max(freedom, 1.0)) * math.tan(angle)


def _rank(count: int, percent: float) -> int:
    """Place of a percentile among ordered samples, from 0."""
    return max(1, math.ceil(percent / 100 * count - 1e-9)) - 1


def _log_binomial(count: int, probability: float) -> npt.NDArray[np.float64]:
    """(count + 1,) logarithms of P[Binomial(count, probability) = k]."""
    k = np.arange(1, count + 1)
    ways = np.concatenate([[0.0], np.cumsum(np.log((count - k + 1) / k))])
    successes = np.arange(count + 1)
    logs = ways + successes * math.log(probability) + (count - successes) * math.log1p(-probability)
    return np.asarray(logs, np.float64)
