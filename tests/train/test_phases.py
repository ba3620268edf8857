from __future__ import annotations

import pytest

pytest.importorskip("keras", reason="the workstation's packages are not installed")

from crackedge.train.phases import Phase, new_optimizer
from crackedge.train.recipe import Recipe

RECIPE = Recipe("steps", steps_per_epoch=100, learning_rate=0.01, final_rate=0.1, head_learning_rate=0.002)


def rates(recipe: Recipe, phase: Phase, *steps: int) -> list[float]:
    """The learning rate at some steps."""
    optimizer = new_optimizer(phase, recipe)
    optimizer.build([])
    found = []
    for step in steps:
        optimizer.iterations.assign(step)
        found.append(float(optimizer.learning_rate))
    return found


def test_the_rate_warms_up_and_falls_to_its_share() -> None:
    assert rates(RECIPE, Phase("whole", 4), 0, 20, 40, 220, 400) == pytest.approx(
        [0.0005, 0.00525, 0.01, 0.0055, 0.001], rel=1e-4
    )


def test_a_phase_too_short_to_warm_up_begins_at_its_highest_rate() -> None:
    short = Recipe("short", steps_per_epoch=4, learning_rate=0.01, final_rate=0.1)
    assert rates(short, Phase("whole", 2), 0, 8) == pytest.approx([0.01, 0.001], rel=1e-4)


def test_a_constant_rate_and_the_head_s_stay() -> None:
    assert rates(RECIPE, Phase("head", 4), 0, 400) == pytest.approx([0.002, 0.002])
    constant = Recipe("constant", schedule="constant", learning_rate=0.01)
    assert rates(constant, Phase("whole", 4), 0, 400) == pytest.approx([0.01, 0.01])
