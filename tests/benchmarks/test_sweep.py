from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackedge.benchmarks.bench_page import _front_plot
from crackedge.benchmarks.sweep import front, ranked_by, warnings_of, worst_auc


def plan(ms: float, auc: float | None, **more: Any) -> dict[str, Any]:
    figures = {"value": ms, "low": ms * 0.9, "high": ms * 1.1}
    return {
        "name": f"{ms:g} ms",
        "failed": None,
        "scenarios": {"frame": {"ms": {"p50": figures, "p90": figures}}},
        "accuracy": {"measured_here": True, "sets": {"site": {"auc": auc, "n_crack": 50, "n_no_crack": 50}}},
        **more,
    }


def test_the_front_are_those_that_nothing_beats_in_both() -> None:
    plans = [plan(30, 0.99), plan(10, 0.90), plan(20, 0.89), plan(15, 0.95), plan(40, 0.99)]
    assert front(plans) == [1, 3, 0]


def test_plans_without_accuracy_or_that_failed_are_not_in_it() -> None:
    assert front([plan(1, None), {"failed": "too large"}, plan(2, 0.5)]) == [2]
    assert front([]) == []


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(50, 60)), min_size=1, max_size=12))
def test_every_other_plan_is_beaten_by_one_of_the_front(pairs: list[tuple[int, int]]) -> None:
    kept = front([plan(ms, auc / 60) for ms, auc in pairs])
    for number, (ms, auc) in enumerate(pairs):
        beaten = any(pairs[one][0] <= ms and pairs[one][1] >= auc for one in kept if one != number)
        assert beaten or number in kept


def test_a_set_with_a_handful_of_a_class_does_not_rank() -> None:
    sets = {
        "chance": {"auc": 0.2, "n_crack": 90, "n_no_crack": 5},
        "site": {"auc": 0.9, "n_crack": 30, "n_no_crack": 30},
        "cracks": {"auc": None, "n_crack": 30, "n_no_crack": 0},
    }
    assert worst_auc({"accuracy": {"sets": sets}}) == ("site", 0.9)
    assert worst_auc({"accuracy": {"sets": {}}}) is None


@pytest.mark.parametrize(("scenarios", "by"), [(("tile", "frame"), "frame"), (("tile",), "tile"), (("null",), "null")])
def test_plans_are_ranked_by_the_most_telling_scenario(scenarios: tuple[str, ...], by: str) -> None:
    assert ranked_by({"scenarios": {name: {} for name in scenarios}}) == by


def test_a_warning_stands_once_for_each_kind() -> None:
    plans = [
        {"warnings": ["the machine was busy before the start: load 8.3 on 2 cores", "the CPU governor is ondemand"]},
        {"warnings": ["the machine was busy before the start: load 9.9 on 2 cores"]},
        {"failed": "too large"},
    ]
    assert len(warnings_of({"plans": plans})) == 2


def test_the_plot_marks_the_front() -> None:
    plans = [plan(30, 0.99), plan(10, 0.90), plan(20, 0.89)]
    (drawn,) = _front_plot({"plans": plans, "front": front(plans)})
    assert drawn.count("<circle") == 3 + 2
    assert "AUC on the worst set" in drawn
