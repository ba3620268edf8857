from __future__ import annotations

import math
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackedge.benchmarks import bootstrap, metrics
from crackedge.benchmarks.intervals import student_t
from crackedge.edge_runtime.errors import DataError

Items = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.intp]]
NAMES = ("accuracy", "recall", "false_positive_rate", "auc")

# few scores and few pictures, so that ties, pictures of both classes and missing classes are the rule
items = st.lists(st.tuples(st.integers(0, 8), st.booleans(), st.integers(0, 6)), min_size=1, max_size=60).map(
    lambda rows: (
        np.array([score / 8 for score, _, _ in rows]),
        np.array([crack for _, crack, _ in rows]),
        np.array([picture for _, _, picture in rows]),
    )
)


@settings(max_examples=40)
@given(items)
def test_an_interval_holds_its_figure_and_lies_within_0_and_1(rows: Items) -> None:
    scores, labels, pictures = rows
    figures = metrics.summary(scores, labels, threshold=0.5)
    for name, interval in bootstrap.intervals(scores, labels, pictures, threshold=0.5).items():
        figure = figures[name.removesuffix("_interval")]
        assert isinstance(figure, float | None)
        if interval is not None:
            assert figure is not None
            assert 0 <= interval[0] <= figure + 1e-9
            assert figure - 1e-9 <= interval[1] <= 1


@settings(max_examples=40)
@given(items, st.randoms(use_true_random=False))
def test_the_order_of_items_and_the_numbers_of_pictures_do_not_matter(rows: Items, random: Random) -> None:
    scores, labels, pictures = rows
    order = list(range(labels.size))
    random.shuffle(order)
    first = bootstrap.intervals(*rows, threshold=0.5)
    again = bootstrap.intervals(scores[order], labels[order], 3 * pictures[order] + 5, threshold=0.5)
    for name, interval in first.items():
        assert again[name] == (None if interval is None else pytest.approx(interval))


@settings(max_examples=40)
@given(items)
def test_a_draws_auc_is_that_of_its_items_laid_out(rows: Items) -> None:
    scores, labels, pictures = rows
    weights = bootstrap.draws(7)[:, :5]
    for drawn, got in zip(weights.T, bootstrap.resampled_auc(weights, scores, labels, pictures), strict=True):
        times = drawn[pictures].astype(int)
        expected = metrics.auc(np.repeat(scores, times), np.repeat(labels, times))
        assert math.isnan(got) if expected is None else got == pytest.approx(expected)


@settings(max_examples=40)
@given(items)
def test_a_draws_share_is_that_of_its_items_laid_out(rows: Items) -> None:
    _, hits, pictures = rows
    weights = bootstrap.draws(7)[:, :5]
    for drawn, got in zip(weights.T, bootstrap.resampled_share(weights, hits, pictures), strict=True):
        laid_out = np.repeat(hits, drawn[pictures].astype(int))
        assert got == pytest.approx(laid_out.mean()) if laid_out.size else math.isnan(got)


def test_many_draws_in_several_rounds_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    scores, labels, pictures = rng.random(40), rng.random(40) < 0.5, np.arange(40) % 9
    weights = bootstrap.draws(9)
    whole = bootstrap.resampled_auc(weights, scores, labels, pictures)
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 1000)
    assert np.array_equal(bootstrap.resampled_auc(weights, scores, labels, pictures), whole)


def test_every_draw_has_as_many_pictures_as_there_are() -> None:
    weights = bootstrap.draws(50)
    assert weights.shape == (50, bootstrap.RESAMPLES)
    assert (weights.sum(axis=0) == 50).all()
    assert weights.mean(axis=1) == pytest.approx(np.ones(50), abs=0.15)


def test_a_share_of_single_windows_has_the_standard_error_of_a_proportion() -> None:
    hits = np.arange(400) < 320
    low, high = bootstrap.share_interval(hits, np.arange(400)) or [0.0, 0.0]
    middle, half = math.log(0.8 / 0.2), student_t(0.975, 399) / math.sqrt(400 * 0.8 * 0.2)
    assert math.log(low / (1 - low)) == pytest.approx(middle - half, rel=0.05)
    assert math.log(high / (1 - high)) == pytest.approx(middle + half, rel=0.05)


def test_windows_of_one_picture_are_no_more_than_one() -> None:
    hits = np.arange(100) < 80
    alone = bootstrap.share_interval(hits, np.arange(100))
    copied = bootstrap.share_interval(np.repeat(hits, 9), np.repeat(np.arange(100), 9))
    assert alone is not None
    assert copied == pytest.approx(alone)


def test_without_a_mistake_the_far_end_is_the_exact_one() -> None:
    right = np.ones(100, np.bool_)
    exact = 0.025 ** (1 / 100)  # Clopper and Pearson
    assert bootstrap.share_interval(right, np.arange(100)) == pytest.approx([exact, 1])
    assert bootstrap.share_interval(~right, np.arange(100)) == pytest.approx([0, 1 - exact])
    scores, labels = np.arange(50) / 50, np.arange(50) >= 40
    apart = bootstrap.intervals(scores, labels, np.arange(50), threshold=0.5)
    assert apart["auc_interval"] == pytest.approx([0.025 ** (1 / 10), 1])  # ten disjoint pairs


def test_what_a_set_cannot_give_has_no_interval() -> None:
    scores, labels = np.array([0.9, 0.2, 0.6]), np.ones(3, np.bool_)
    cracks = bootstrap.intervals(scores, labels, np.arange(3), threshold=0.5)
    assert cracks["recall_interval"] is not None
    assert all(cracks[f"{name}_interval"] is None for name in ("accuracy", "false_positive_rate", "auc"))
    one_picture = bootstrap.intervals(scores, np.arange(3) > 0, np.zeros(3, np.intp), threshold=0.5)
    empty = bootstrap.intervals(np.zeros(0), np.zeros(0, np.bool_), np.zeros(0, np.intp), threshold=0.5)
    assert set(one_picture.values()) == set(empty.values()) == {None}
    assert set(empty) == {f"{name}_interval" for name in NAMES}


def test_pairs_share_no_picture() -> None:
    both = np.array([True, False, True, False, True, False])
    assert bootstrap.pairs(both, np.array([0, 0, 1, 1, 2, 2])) == 1
    assert bootstrap.pairs(both, np.arange(6)) == 3
    assert bootstrap.pairs(both, np.array([0, 1, 2, 1, 3, 1])) == 1


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match=r"\(3,\).*pictures \(2,\)"):
        bootstrap.intervals(np.zeros(3), np.zeros(3, np.bool_), np.zeros(2, np.intp), threshold=0.5)
    with pytest.raises(DataError, match="not finite"):
        bootstrap.intervals(np.array([0, np.nan]), np.ones(2, np.bool_), np.arange(2), threshold=0.5)


@pytest.mark.parametrize(
    ("rate", "pictures", "windows", "likeness"),
    [(0.985, 150, 1, 0.0), (0.93, 30, 4, 0.3), (0.6, 8, 4, 0.3)],
)
def test_of_simulated_shares_the_interval_holds_19_of_20(
    rate: float, pictures: int, windows: int, likeness: float
) -> None:
    rng = np.random.default_rng(11)
    trials, missed = 200, 0
    number = np.repeat(np.arange(pictures), windows)
    for _ in range(trials):
        rates = np.full(pictures, rate)
        if likeness:
            rates = rng.beta(rate * (1 / likeness - 1), (1 - rate) * (1 / likeness - 1), pictures)
        interval = bootstrap.share_interval(rng.random(number.size) < rates[number], number)
        assert interval is not None
        missed += not interval[0] <= rate <= interval[1]
    assert missed / trials <= 0.095  # 5 %, and three times the error of 200 trials


def test_of_simulated_auc_the_interval_holds_19_of_20() -> None:
    """Scores of N(offset of the picture) and of cracks 2 higher: AUC = Phi(2 / sqrt(2 (1 + 0.5^2)))."""
    rng = np.random.default_rng(12)
    true = 0.5 * (1 + math.erf(2 / math.sqrt(2 * 1.25) / math.sqrt(2)))
    trials, missed = 100, 0
    number, labels = np.repeat(np.arange(40), 4), np.arange(160) % 2 == 0
    for _ in range(trials):
        scores = rng.normal(size=160) + 2 * labels + 0.5 * rng.normal(size=40)[number]
        interval = bootstrap.intervals(scores, labels, number, threshold=0.5)["auc_interval"]
        assert interval is not None
        missed += not interval[0] <= true <= interval[1]
    assert missed / trials <= 0.115
