from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackedge.benchmarks import metrics
from crackedge.benchmarks.calibration import choose_threshold, class_weights, fit_affine, sigmoid
from crackedge.edge_runtime.errors import DataError, OptionError


def test_the_fit_finds_the_scale_and_bias_that_made_the_labels() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(-3, 2, 40_000)
    labels = random.random(logits.size) < sigmoid(0.7 * logits + 1.9)
    scale, bias = fit_affine(logits, labels)
    assert scale == pytest.approx(0.7, rel=0.05)
    assert bias == pytest.approx(1.9, abs=0.1)
    error = metrics.calibration_error(sigmoid(scale * logits + bias), labels)
    assert error is not None
    assert error < 0.01


@given(
    st.lists(st.tuples(st.floats(-1e3, 1e3, width=32), st.booleans()), min_size=2, max_size=40).filter(
        lambda items: len({label for _, label in items}) == 2
    )
)
@settings(max_examples=60, deadline=None)
def test_the_fit_is_finite_and_rising_on_anything(items: list[tuple[float, bool]]) -> None:
    logits = np.array([logit for logit, _ in items])
    labels = np.array([label for _, label in items])
    scale, bias = fit_affine(logits, labels)
    assert np.isfinite([scale, bias]).all()
    assert scale > 0


def test_separable_data_give_a_steep_but_finite_fit_that_separates() -> None:
    logits = np.concatenate([np.linspace(-9, -1, 50), np.linspace(1, 9, 50)])
    labels = logits > 0
    scale, bias = fit_affine(logits, labels)
    scores = sigmoid(scale * logits + bias)
    assert 0.5 < scale < 50
    assert ((scores >= 0.5) == labels).all()


def test_logits_that_point_the_wrong_way_give_the_base_rate() -> None:
    logits = np.linspace(-2, 2, 200)
    labels = logits < -0.8
    scale, bias = fit_affine(logits, labels)
    assert 0 < scale < 0.05
    assert sigmoid(scale * logits + bias).mean() == pytest.approx(labels.mean(), abs=0.02)


def test_equal_logits_give_the_base_rate() -> None:
    scale, bias = fit_affine(np.full(100, 7.0), np.arange(100) < 25)
    assert scale > 0
    assert float(sigmoid(scale * 7 + bias)) == pytest.approx(0.25, abs=0.02)


def test_weights_count_as_repetition() -> None:
    logits = np.array([-2.0, -1, 0, 1, 2, -0.5, 0.5])
    labels = np.array([False, False, True, True, True, True, False])
    weights = np.array([3, 1, 2, 1, 1, 2, 4])
    weighted = fit_affine(logits, labels, weights=weights)
    scaled = fit_affine(logits, labels, weights=weights * 17.0)
    assert weighted == pytest.approx(scaled)
    many = np.repeat(np.arange(7), 400 * weights)
    few = np.tile(np.arange(7), 400)  # Platt's targets hardly matter among so many
    assert fit_affine(logits[many], labels[many]) == pytest.approx(
        fit_affine(logits[few], labels[few], weights=np.tile(weights, 400)), rel=5e-3, abs=5e-3
    )


def test_an_item_of_no_weight_has_no_say() -> None:
    logits, labels = np.array([-1.0, 0.5, 0, 1, 1e6]), np.array([False, False, True, True, False])
    weights = np.array([1.0, 1, 1, 1, 0])
    assert fit_affine(logits, labels, weights=weights) == pytest.approx(fit_affine(logits[:4], labels[:4]))


def test_items_of_hardly_any_weight_are_hardly_any_data() -> None:
    logits, labels = np.array([-3.0, -2, -1, 1, 2, 3]), np.array([False] * 3 + [True] * 3)
    many, weights = np.tile(np.arange(6), 101), np.r_[np.ones(6), np.full(600, 1e-6)]
    alone = fit_affine(logits, labels)
    assert fit_affine(logits[many], labels[many], weights=weights) == pytest.approx(alone, rel=1e-2, abs=1e-2)


def test_near_a_prior_the_fit_is_the_most_probable_one() -> None:
    logits = np.array([-3.0, -1, 0.5, 0, 1, 2])
    labels = np.array([False, False, False, True, True, True])
    scale, bias = fit_affine(logits, labels, prior=(1.0, 0.0))
    error = sigmoid(scale * logits + bias) - labels
    assert error @ logits + (scale - 1) / 0.5**2 == pytest.approx(0, abs=1e-4)
    assert error.sum() + bias / 1.5**2 == pytest.approx(0, abs=1e-4)


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="with and without cracks"):
        fit_affine(np.zeros(3), np.ones(3, np.bool_))


def test_class_weights_make_classes_count_the_same() -> None:
    weights = class_weights(np.array([True] * 3 + [False] * 97))
    assert [weights[:3].sum(), weights[3:].sum()] == pytest.approx([0.5, 0.5])
    assert len(set(weights[:3])) == len(set(weights[3:])) == 1


def test_the_threshold_lies_in_the_middle_of_the_gap() -> None:
    scores = np.array([0.1, 0.2, 0.7, 0.9])
    labels = np.array([False, False, True, True])
    assert choose_threshold([(scores, labels)], objective="recall") == pytest.approx(0.45)
    assert choose_threshold([(scores, labels)], objective="false_positive_rate") == pytest.approx(0.45)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=4, max_size=30).filter(
            lambda items: len({label for _, label in items}) == 2
        ),
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=60, deadline=None)
def test_no_threshold_has_a_better_mean_than_the_chosen_one(raw: list[list[tuple[int, bool]]]) -> None:
    sets = [(np.array([s / 21 for s, _ in items]), np.array([y for _, y in items])) for items in raw]

    def recall_within_the_limit(threshold: float) -> float:
        figures = [metrics.confusion(scores, labels, threshold) for scores, labels in sets]
        rate = np.mean([f.false_positive_rate or 0.0 for f in figures])
        return float(np.mean([f.recall or 0.0 for f in figures])) if rate <= 0.3 else -1.0

    chosen = choose_threshold(sets, objective="recall", max_false_positive_rate=0.3)
    assert 0 <= chosen <= 1
    assert (
        recall_within_the_limit(chosen) >= max(recall_within_the_limit(t) for t in np.linspace(0.01, 0.99, 99)) - 1e-9
    )


def test_sets_weigh_the_same_however_large() -> None:
    large = (np.concatenate([np.full(5000, 0.30), np.full(5000, 0.45)]), np.arange(10_000) >= 5000)
    small = (np.concatenate([np.full(10, 0.50), np.full(10, 0.60)]), np.arange(20) >= 10)
    # half of the small set's crack-free items alone would be a thousandth of all items, and is a quarter of the rates
    assert choose_threshold([large, small], objective="recall", max_false_positive_rate=0.2) == pytest.approx(0.55)
    assert choose_threshold([large, small], objective="recall", max_false_positive_rate=0.5) == pytest.approx(0.375)


def test_limits_hold_for_the_mean_or_for_each_set() -> None:
    random = np.random.default_rng(2)
    sets = []
    for shift in (0.8, 2.5):
        labels = random.random(400) < 0.5
        sets.append((sigmoid(random.normal(size=400) + shift * labels), labels))
    high_recall = choose_threshold(sets, objective="false_positive_rate", min_recall=0.9)
    few_alarms = choose_threshold(sets, objective="recall", max_false_positive_rate=0.05)
    each = choose_threshold(sets, objective="false_positive_rate", min_recall=[0.9, None])

    def recall(index: int, threshold: float) -> float:
        return metrics.confusion(*sets[index], threshold).recall or 0.0

    assert (recall(0, high_recall) + recall(1, high_recall)) / 2 >= 0.9
    assert (recall(0, high_recall + 0.02) + recall(1, high_recall + 0.02)) / 2 < 0.9
    assert recall(0, each) >= 0.9 > recall(0, high_recall)
    rates = [metrics.confusion(*pair, few_alarms).false_positive_rate or 0.0 for pair in sets]
    assert np.mean(rates) <= 0.05
    assert few_alarms > high_recall


def test_sets_of_one_class_join_in() -> None:
    cracks = (np.array([0.6, 0.8]), np.array([True, True]))
    others = (np.array([0.1, 0.3]), np.array([False, False]))
    assert choose_threshold([cracks, others], objective="recall") == pytest.approx(0.45)
    with pytest.raises(DataError, match="crack-free"):
        choose_threshold([cracks], objective="recall")


def test_what_cannot_be_had_is_said() -> None:
    sets = [(np.array([0.2, 0.8]), np.array([True, False]))]
    with pytest.raises(DataError, match=r"no threshold keeps recall >= 0\.9"):
        choose_threshold(sets, objective="recall", min_recall=0.9, max_false_positive_rate=0.1)
    with pytest.raises(OptionError, match="2 limits for 1 sets"):
        choose_threshold(sets, objective="recall", min_recall=[0.9, 0.9])
    with pytest.raises(DataError, match="probabilities"):
        choose_threshold([(np.array([-2.0, 3.0]), np.array([True, False]))], objective="recall")
