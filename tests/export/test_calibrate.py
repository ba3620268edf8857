from __future__ import annotations

import numpy as np
import pytest

from crackedge.benchmarks.evaluation import SetLogits, window_scores
from crackedge.export.calibrate import BALANCED_RATE, fit_calibration, halves


def _logits(name: str, cracks: int, others: int, *, gap: float, seed: int) -> SetLogits:
    """A set of tiles whose logits are ``gap`` apart, one window and one cell each."""
    rng = np.random.default_rng(seed)
    labels = np.arange(cracks + others) < cracks
    values = np.where(labels, gap / 2, -gap / 2) + rng.normal(size=labels.size)
    files = [f"crack/{n:03}.png" for n in range(cracks)] + [f"no_crack/{n:03}.png" for n in range(others)]
    numbers = np.arange(labels.size)
    return SetLogits(
        name=name,
        files=tuple(files),
        window_logits=values.astype(np.float32),
        window_labels=labels,
        window_files=numbers,
        window_xy=np.zeros((labels.size, 2), np.intp),
        cell_logits=values.astype(np.float32),
        cell_labels=labels,
        cell_files=numbers,
        skipped=(),
    )


def test_halves_share_no_file_and_keep_both_classes() -> None:
    whole = _logits("a", 31, 20, gap=4, seed=1)
    first, second = halves(whole)
    assert first.window_labels.size + second.window_labels.size == 51
    assert not set(first.window_files) & set(second.window_files)
    assert max(first.window_files[first.window_labels]) < min(second.window_files[second.window_labels])
    assert {bool(label) for label in first.window_labels} == {True, False}


def test_balanced_keeps_every_sets_false_alarms_low_and_small_sets_have_no_say() -> None:
    sets = [
        _logits("easy", 200, 200, gap=6, seed=2),
        _logits("hard", 200, 200, gap=2, seed=3),
        _logits("few", 100, 5, gap=-3, seed=4),
    ]
    calibration = fit_calibration(sets)
    point = calibration.operating_points["balanced"]
    for one in sets[:2]:
        alarms = window_scores(one, calibration)[~one.window_labels] >= point.window_threshold
        assert alarms.mean() <= BALANCED_RATE + 1e-9
    found = window_scores(sets[0], calibration)[sets[0].window_labels] >= point.window_threshold
    assert found.mean() > 0.9


def test_operating_points_are_in_order() -> None:
    calibration = fit_calibration([_logits("a", 80, 80, gap=3, seed=5)])
    thresholds = [
        calibration.operating_points[name].window_threshold for name in ("high-recall", "balanced", "high-precision")
    ]
    assert thresholds == sorted(thresholds)
    assert calibration.scale > 0
    assert calibration.operating_points["balanced"].cell_threshold == pytest.approx(0.5, abs=0.45)
