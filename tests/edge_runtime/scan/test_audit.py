from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.models.card import Calibration, OperatingPoint
from crackedge.edge_runtime.scan.audit import ALLOWED_LOSS, Doubt, audited, lost_cells, lowered
from crackedge.edge_runtime.scan.scoremap import ScoreMap, score_map

POINT = OperatingPoint(0.5, 0.5)
CALIBRATION = Calibration(operating_points={"balanced": POINT})


def scores(logits: npt.NDArray[np.float64]) -> ScoreMap:
    cells = logits.astype(np.float32)
    starts = (lattice.window_starts(length, 1) for length in cells.shape)
    rows, cols = starts
    return score_map(cells, lattice.window_means(cells), row_starts=rows, col_starts=cols, calibration=CALIBRATION)


def audit(
    doubt: Doubt,
    expected: npt.NDArray[np.float64],
    found: npt.NDArray[np.float64],
    *,
    where: npt.NDArray[np.bool_] | None = None,
    calibration: Calibration = CALIBRATION,
) -> Doubt:
    return audited(
        doubt,
        expected=scores(expected),
        found=scores(found),
        where=np.ones(found.shape, bool) if where is None else where,
        point=POINT,
        calibration=calibration,
        frame_hw=(found.shape[0] * 32, found.shape[1] * 32),
    )


def test_a_crack_one_cell_away_is_not_lost_and_two_cells_away_it_is() -> None:
    full, other = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    full[3, 3] = True
    assert lost_cells(full, other) == 1
    other[4, 4] = True
    assert lost_cells(full, other) == 0
    other[4, 4], other[5, 5] = False, True
    assert lost_cells(full, other) == 1


def test_thresholds_sink_with_doubt_and_stay_without() -> None:
    point = OperatingPoint(0.6, 0.96)
    assert lowered(point, Doubt(), factor=0.0).window_threshold == pytest.approx(0.6)
    low = lowered(point, Doubt(window_error=0.5, cell_error=1.0), factor=2.0)
    assert low.window_threshold == pytest.approx(1 / (1 + np.exp(1 - np.log(0.6 / 0.4))))
    assert low.cell_threshold == pytest.approx(1 / (1 + np.exp(2 - np.log(0.96 / 0.04))))
    assert 0 <= lowered(OperatingPoint(0.0, 1.0), Doubt()).window_threshold <= 1e-6


def test_losses_raise_the_doubt_until_it_is_hopeless_and_finding_all_lowers_it() -> None:
    cracked, nothing = np.full((10, 12), 20.0), np.full((10, 12), -20.0)
    doubt = Doubt()
    for _ in range(10):
        doubt = audit(doubt, nothing, cracked)
    assert doubt.loss == pytest.approx(1.0)
    assert doubt.hopeless
    fresh = doubt = Doubt()
    for _ in range(10):
        doubt = audit(doubt, cracked, cracked)
    assert doubt.loss == 0.0
    assert doubt.factor < fresh.factor
    assert doubt.window_error < fresh.window_error
    assert not doubt.hopeless
    for _ in range(60):
        doubt = audit(doubt, cracked, cracked)
    assert doubt.factor <= 0.5
    assert lowered(POINT, doubt) == lowered(POINT, doubt, factor=doubt.factor)
    assert audit(Doubt(), nothing, cracked).hopeless is False  # once is no rule


def test_without_cracks_only_the_errors_are_learnt_and_from_a_strip_nothing() -> None:
    rng = np.random.default_rng(0)
    found = rng.normal(-20, 1, (10, 12))
    doubt = audit(Doubt(), found + 0.5, found)
    assert (doubt.loss, doubt.factor, doubt.audits) == (None, Doubt().factor, 0.0)
    assert doubt.window_error < Doubt().window_error
    where = np.zeros((10, 12), bool)
    where[:, :3] = True
    assert audit(Doubt(), found, found, where=where) == Doubt()


def test_errors_are_in_calibrated_log_odds() -> None:
    rng = np.random.default_rng(1)
    found = rng.normal(-20, 1, (10, 12))
    expected = found + rng.normal(0, 1, found.shape)
    certain = Doubt(window_error=0.0, cell_error=0.0)
    plain = audit(certain, expected, found)
    scaled = audit(certain, expected, found, calibration=replace(CALIBRATION, scale=2.0, cell_scale=3.0))
    assert scaled.window_error == pytest.approx(2 * plain.window_error)
    assert scaled.cell_error == pytest.approx(3 * plain.cell_error)


def test_only_what_was_carried_and_scanned_is_audited() -> None:
    expected, found = np.full((2, 20, 24), -20.0)
    expected[6:13, 2:9] = found[6:13, 2:9] = 20.0
    found[:7, 17:] = 20.0
    expected[13:, 17:] = 20.0
    where = np.ones(found.shape, bool)
    where[:, 16:] = False
    doubt = audit(Doubt(), expected, found, where=where)
    assert (doubt.cracked, doubt.lost) == (49, 0)
    assert not any(doubt.lost_with + doubt.added_with)
    everywhere = audit(Doubt(), expected, found)
    assert everywhere.lost > 0
    assert all(everywhere.added_with)


def test_audits_fade() -> None:
    cracked = np.full((10, 12), 20.0)
    doubt = audit(audit(Doubt(), cracked, cracked), cracked, cracked)
    assert doubt.audits == pytest.approx(1.97)
    assert doubt.cracked == pytest.approx(1.97 * cracked.size)


def test_the_loss_settles_at_what_is_allowed() -> None:
    """Windows that flicker around their threshold: the doubt rises until hardly any is lost, and no further."""
    rng = np.random.default_rng(3)
    doubt, factors, lost = Doubt(), [], 0.0
    for _ in range(80):
        place = np.kron(rng.normal(0, 1.5, (5, 6)), np.ones((7, 7)))
        before = doubt
        doubt = audit(doubt, place + rng.normal(0, 2, place.shape), place + rng.normal(0, 2, place.shape))
        factors.append(doubt.factor)
        lost += doubt.lost - 0.97 * before.lost
    assert doubt.loss is not None
    assert doubt.loss < 2 * ALLOWED_LOSS
    assert max(factors) < 5.0


def test_doubt_stops_where_more_would_mark_a_hundred_cells_for_each_that_is_kept() -> None:
    """One in a hundred cracked cells looked like the sound wall before: a doubt that keeps it marks the whole wall."""
    found = np.full((80, 90), -6.0)
    found[:48, :48] = 20.0
    expected = found.copy()
    found[70:75, 80:85] = 30.0
    doubt = Doubt()
    for _ in range(40):
        doubt = audit(replace(doubt, window_error=2.0, cell_error=2.0), expected, found)
    assert doubt.loss is not None
    assert doubt.loss > ALLOWED_LOSS
    assert lowered(POINT, replace(doubt, window_error=2.0), factor=3.5).window_threshold < 1 / (1 + np.exp(6.0))
    assert doubt.factor < 3.0
