from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackedge.benchmarks import metrics
from crackedge.edge_runtime.errors import DataError

Pair = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]

# few distinct scores, so that ties are the rule
pairs = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=60).map(
    lambda items: (np.array([s / 8 for s, _ in items]), np.array([label for _, label in items]))
)


@given(pairs)
def test_auc_is_the_share_of_ordered_pairs(pair: Pair) -> None:
    scores, labels = pair
    wins = [float(c > o) + 0.5 * float(c == o) for c in scores[labels] for o in scores[~labels]]
    got = metrics.auc(scores, labels)
    if not wins:
        assert got is None
    else:
        assert got == pytest.approx(np.mean(wins))


@given(pairs)
def test_average_precision_is_precision_summed_over_recall_steps(pair: Pair) -> None:
    scores, labels = pair
    got = metrics.average_precision(scores, labels)
    if labels.all() or not labels.any():
        assert got is None
        return
    area, before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        counts = metrics.confusion(scores, labels, threshold)
        assert counts.recall is not None
        assert counts.precision is not None
        area += (counts.recall - before) * counts.precision
        before = counts.recall
    assert got == pytest.approx(area)


@given(pairs, st.floats(0, 1))
def test_confusion_counts_every_item_once(pair: Pair, threshold: float) -> None:
    scores, labels = pair
    c = metrics.confusion(scores, labels, threshold)
    assert c.true_crack + c.false_no_crack == labels.sum()
    assert c.false_crack + c.true_no_crack == (~labels).sum()
    assert c.true_crack + c.false_crack == sum(s >= threshold for s in scores)


@given(pairs)
def test_auc_and_average_precision_know_only_the_order(pair: Pair) -> None:
    scores, labels = pair
    stretched = np.exp(3 * scores) - 1
    assert metrics.auc(scores, labels) == metrics.auc(stretched, labels)
    assert metrics.average_precision(scores, labels) == metrics.average_precision(stretched, labels)


def test_the_published_figures_of_a_seed_come_out_of_its_confusion() -> None:
    counts = metrics.Confusion(true_crack=99, false_crack=2, true_no_crack=98, false_no_crack=1)
    assert counts.accuracy == pytest.approx(0.985)
    assert counts.precision == pytest.approx(0.980, abs=5e-4)
    assert counts.recall == pytest.approx(0.990)
    assert counts.f1 == pytest.approx(0.985, abs=5e-4)


def test_known_figures() -> None:
    scores = np.array([0.1, 0.4, 0.35, 0.8])
    labels = np.array([False, False, True, True])
    assert metrics.auc(scores, labels) == pytest.approx(0.75)
    assert metrics.average_precision(scores, labels) == pytest.approx(0.8333333)
    assert metrics.auc(np.full(6, 0.5), np.arange(6) < 2) == pytest.approx(0.5)


def test_a_score_on_the_threshold_says_crack() -> None:
    assert metrics.confusion(np.array([0.5]), np.array([True]), 0.5).true_crack == 1


def test_a_calibrated_score_has_no_calibration_error_and_a_shifted_one_the_shift() -> None:
    scores = np.repeat([0.1, 0.3, 0.7], 100)
    labels = np.concatenate([np.arange(100) < 10, np.arange(100) < 30, np.arange(100) < 70])
    assert metrics.calibration_error(scores, labels) == pytest.approx(0, abs=1e-12)
    assert metrics.calibration_error(scores + 0.2, labels) == pytest.approx(0.2)
    assert metrics.calibration_error(np.array([1.0, 0.0]), np.array([True, False])) == 0


def test_one_class_gives_its_rate_and_no_comparison() -> None:
    scores = np.array([0.9, 0.2, 0.6, 0.7])
    cracks = metrics.summary(scores, np.ones(4, np.bool_), threshold=0.5)
    assert (cracks["recall"], cracks["false_positive_rate"], cracks["auc"]) == (0.75, None, None)
    others = metrics.summary(scores, np.zeros(4, np.bool_), threshold=0.5)
    assert (others["recall"], others["false_positive_rate"], others["auc"]) == (None, 0.75, None)
    assert others["accuracy"] is others["f1"] is others["average_precision"] is None


def test_an_empty_set_gives_no_figure() -> None:
    figures = metrics.summary(np.zeros(0), np.zeros(0, np.bool_), threshold=0.5)
    assert figures["n_crack"] == figures["n_no_crack"] == 0
    assert all(figures[key] is None for key in ("accuracy", "recall", "false_positive_rate", "auc", "ece"))


def test_unusable_scores_are_refused() -> None:
    with pytest.raises(DataError, match=r"\(3,\).*\(2,\)"):
        metrics.auc(np.zeros(3), np.zeros(2, np.bool_))
    with pytest.raises(DataError, match="1 of 2"):
        metrics.auc(np.array([0.0, np.nan]), np.array([True, False]))
