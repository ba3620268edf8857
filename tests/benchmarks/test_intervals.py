from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackedge.benchmarks.intervals import (
    early_stopping,
    estimate,
    least_samples,
    order_statistics,
    percentile,
    spread,
    standard_error,
    student_t,
)
from crackedge.edge_runtime.errors import OptionError


def test_percentiles_of_known_latencies() -> None:
    samples = [float(ms) for ms in np.random.default_rng(3).permutation(np.arange(1, 1001))]
    assert [percentile(samples, p) for p in (50, 90, 99, 99.9, 100)] == [500, 900, 990, 999, 1000]
    assert percentile([7.0], 1) == percentile([7.0], 99) == 7
    figures = spread([samples[:400], samples[400:]])
    assert (figures["n"], figures["processes"], figures["max"]) == (1000, 2, 1000)
    assert [figures[f"p{p}"]["value"] for p in (50, 90, 99)] == [500, 900, 990]
    assert figures["mean"] == pytest.approx(500.5)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0.1, 100))
def test_a_percentile_is_the_least_sample_that_so_many_do_not_exceed(samples: list[float], percent: float) -> None:
    value = percentile(samples, percent)
    assert value in samples
    enough = percent / 100 * len(samples) - 1e-6
    assert sum(s <= value for s in samples) >= enough
    assert sum(s < value for s in samples) < enough + 2e-6 or value == min(samples)


def test_percentiles_of_nothing_are_refused() -> None:
    with pytest.raises(OptionError, match="0 samples"):
        percentile([], 50)
    with pytest.raises(OptionError, match="percentile 0"):
        percentile([1.0], 0)


@pytest.mark.parametrize("percent", [50, 90, 99])
def test_order_statistics_cover_the_true_percentile_as_often_as_they_say(percent: float) -> None:
    rng = np.random.default_rng(5)
    true = -math.log(1 - percent / 100)  # of the exponential distribution
    found = [order_statistics(rng.exponential(size=400).tolist(), percent) for _ in range(600)]
    held = np.mean([(one.low or 0.0) <= true <= (one.high or math.inf) for one in found])
    assert 0.94 <= held <= 0.99  # at least 95 %, and ranks are whole numbers
    assert all((one.low or 0.0) <= one.value <= (one.high or math.inf) for one in found)


def test_too_few_samples_leave_an_end_open() -> None:
    assert order_statistics([3.0, 1.0, 2.0], 50).low is None
    assert order_statistics([3.0, 1.0, 2.0], 50).high is None
    wide = order_statistics([float(ms) for ms in range(1, 51)], 99)
    assert (wide.value, wide.high) == (50, None)
    assert wide.low is not None


def processes(rng: np.random.Generator, count: int, *, apart: float, factor: float = 1.0) -> list[list[float]]:
    """Latencies around 10 ms of processes whose own levels differ."""
    levels = 10 * factor * np.exp(rng.normal(0, apart, count))
    return [(level * rng.lognormal(0, 0.05, 40)).tolist() for level in levels]


@pytest.mark.parametrize("count", [3, 5])
def test_the_bootstrap_over_restarts_covers_the_median_of_all_processes(count: int) -> None:
    rng = np.random.default_rng(11)
    found = [estimate(processes(rng, count, apart=0.08), 50) for _ in range(300)]
    held = [one.low is not None and one.high is not None and one.low <= 10 <= one.high for one in found]
    assert np.mean(held) >= 0.92
    within = [order_statistics(np.concatenate(processes(rng, count, apart=0.08)), 50) for _ in range(100)]
    blind = [one.low is not None and one.high is not None and one.low <= 10 <= one.high for one in within]
    assert np.mean(blind) < 0.8, "processes taken for one would seem surer than they are"


def test_what_differs_between_processes_cannot_be_seen_in_one() -> None:
    with pytest.raises(OptionError, match="more --restarts"):
        standard_error([[1.0, 2.0]], 50)
    assert standard_error([[2.0, 2.0], [2.0, 2.0]], 50) == pytest.approx(0, abs=1e-9)
    assert standard_error([[1.0], [2.0], [4.0]], 50) > 0.2


@pytest.mark.parametrize(
    ("count", "discarded"),
    [(64, 0), (2048, 172), (2116, 178), (2145, 181), (7469, 685)],  # as LoadGen says in published results
)
def test_as_many_samples_are_discarded_as_by_loadgen(count: int, discarded: int) -> None:
    samples = [float(ms) for ms in range(1, count + 1)]
    found = early_stopping(samples)
    assert (found.discarded, found.bound) == (discarded, count - discarded)


def test_fewer_than_64_samples_have_no_bound() -> None:
    assert least_samples(90, 0.99) == 64
    found = early_stopping([1.0] * 63)
    assert (found.bound, found.least_samples) == (None, 64)
    assert least_samples(99, 0.99) == 662


@pytest.mark.parametrize("draw", ["exponential", "uniform", "standard_cauchy"])
@pytest.mark.parametrize("count", [64, 300])
def test_the_bound_covers_the_true_p90_with_the_stated_confidence(draw: str, count: int) -> None:
    rng = np.random.default_rng(17)
    true = {"exponential": math.log(10), "uniform": 0.9, "standard_cauchy": math.tan(math.pi * 0.4)}[draw]
    held = []
    for _ in range(1500):
        bound = early_stopping(getattr(rng, draw)(size=count).tolist()).bound
        assert bound is not None
        held.append(bound >= true)
    assert np.mean(held) >= 0.99


@pytest.mark.parametrize(("percent", "confidence"), [(0, 0.99), (100, 0.99), (90, 0), (90, 1)])
def test_a_bound_on_nothing_is_refused(percent: float, confidence: float) -> None:
    with pytest.raises(OptionError, match="expected 0 to 100"):
        early_stopping([1.0] * 100, percent=percent, confidence=confidence)


@pytest.mark.parametrize(
    ("probability", "freedom", "quantile"),
    [(0.975, 1, 12.706), (0.975, 2, 4.303), (0.995, 4, 4.604), (0.975, 30, 2.042), (0.5, 3, 0.0), (0.975, 1000, 1.962)],
)
def test_quantiles_of_students_t(probability: float, freedom: float, quantile: float) -> None:
    assert student_t(probability, freedom) == pytest.approx(quantile, abs=2e-3)


def test_one_process_is_judged_by_its_own_samples() -> None:
    samples: Sequence[float] = [float(ms) for ms in range(1, 201)]
    assert estimate([samples], 50) == order_statistics(samples, 50)
