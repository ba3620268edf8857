from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from crackedge.benchmarks import card_calibration
from crackedge.benchmarks.card_calibration import (
    BALANCED_RATE,
    FEWEST,
    LEAST_RECALL,
    calibrate,
    doubts,
    figures,
    fit_calibration,
    format_calibrated,
    halves,
)
from crackedge.benchmarks.data_sets import find_sets
from crackedge.benchmarks.evaluation import SetLogits, evaluate, window_scores
from crackedge.edge_runtime.errors import DataError, OutputError
from crackedge.edge_runtime.models.card import Calibration, OperatingPoint
from crackedge.edge_runtime.models.model import open_model

Crackedge = Callable[..., "subprocess.CompletedProcess[str]"]
NAMES = ("high-recall", "balanced", "high-precision")


def _logits(name: str, cracks: int, others: int, *, gap: float, seed: int, shift: float = 0.0) -> SetLogits:
    """A set of tiles whose logits are ``gap`` apart around ``shift``, one window and one cell each."""
    rng = np.random.default_rng(seed)
    labels = np.arange(cracks + others) < cracks
    values = shift + np.where(labels, gap / 2, -gap / 2) + rng.normal(size=labels.size)
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
        cell_at_border=np.zeros(labels.size, np.bool_),
        cell_beside_crack=labels,
        skipped=(),
    )


def _tiles_only(one: SetLogits) -> SetLogits:
    """The set without masks: cells are known of crack-free tiles only."""
    sound = ~one.cell_labels
    return dataclasses.replace(
        one,
        cell_logits=one.cell_logits[sound],
        cell_labels=one.cell_labels[sound],
        cell_files=one.cell_files[sound],
        cell_at_border=one.cell_at_border[sound],
        cell_beside_crack=one.cell_beside_crack[sound],
    )


def _even_chance(calibration: Calibration) -> float:
    """The logit of probability 0.5."""
    return -calibration.bias / calibration.scale


def test_halves_share_no_file_and_keep_both_classes() -> None:
    whole = _logits("a", 31, 20, gap=4, seed=1)
    first, second = halves(whole)
    assert first.window_labels.size + second.window_labels.size == 51
    assert not set(first.window_files) & set(second.window_files)
    assert max(first.window_files[first.window_labels]) < min(second.window_files[second.window_labels])
    assert {bool(label) for label in first.window_labels} == {True, False}


def test_one_odd_set_has_one_voice_however_large() -> None:
    usual = [_logits(str(n), 60, 60, gap=6, seed=n, shift=1.0) for n in range(3)]
    odd = _logits("odd", 4000, 4000, gap=1, seed=9, shift=-3.0)
    alone, together = fit_calibration(usual), fit_calibration([*usual, odd])
    assert _even_chance(alone) == pytest.approx(1.0, abs=0.4)
    assert _even_chance(together) == pytest.approx((3 * _even_chance(alone) - 3) / 4, abs=0.2)


def test_scores_that_point_the_wrong_way_do_not_carry_the_mean_away() -> None:
    usual = _logits("a", 100, 100, gap=5, seed=1)
    wrong = _logits("wrong", 100, 300, gap=-2, seed=2)
    calibration = fit_calibration([usual, wrong])
    assert calibration.scale > 0
    assert abs(_even_chance(calibration)) < 2


def test_balanced_keeps_every_sets_false_alarms_low_and_small_sets_have_no_say() -> None:
    sets = [
        _logits("easy", 200, 200, gap=6, seed=2),
        _logits("hard", 200, 200, gap=1, seed=3, shift=0.5),
        _logits("few", 100, 5, gap=-3, seed=4),
    ]
    calibration = fit_calibration(sets)
    point = calibration.operating_points["balanced"]
    assert point.window_threshold > 0.5
    for one in sets[:2]:
        alarms = window_scores(one, calibration)[~one.window_labels] >= point.window_threshold
        assert alarms.mean() <= BALANCED_RATE + 1e-9
    found = window_scores(sets[0], calibration)[sets[0].window_labels] >= point.window_threshold
    assert found.mean() > 0.9


def test_balanced_is_an_even_chance_where_nothing_speaks_against_it() -> None:
    calibration = fit_calibration([_logits("a", 80, 80, gap=6, seed=5)])
    assert calibration.operating_points["balanced"].window_threshold == 0.5


def test_high_recall_finds_the_cracks_of_every_set() -> None:
    sets = [_logits("a", 100, 100, gap=5, seed=6), _logits("faint", 100, 100, gap=2, seed=7, shift=-1.5)]
    calibration = fit_calibration(sets)
    for one in sets:
        scores = window_scores(one, calibration)[one.window_labels]
        found = [float((scores >= calibration.operating_points[name].window_threshold).mean()) for name in NAMES]
        assert found[0] >= LEAST_RECALL
        assert found == sorted(found, reverse=True)


def test_operating_points_are_in_order() -> None:
    calibration = fit_calibration([_logits("a", 80, 80, gap=3, seed=5)])
    thresholds = [calibration.operating_points[name].window_threshold for name in NAMES]
    assert thresholds == sorted(thresholds)
    assert thresholds[0] < thresholds[-1]
    assert calibration.operating_points["balanced"].cell_threshold == pytest.approx(0.5, abs=0.45)


def test_a_set_with_few_of_a_class_is_still_enough_when_it_is_all_there_is() -> None:
    calibration = fit_calibration([_logits("a", 100, FEWEST - 10, gap=5, seed=8)])
    assert _even_chance(calibration) == pytest.approx(0, abs=1)


def test_sets_with_few_of_a_class_have_a_voice_together_or_none() -> None:
    ample = _logits("a", 60, 60, gap=6, seed=1)
    few = [_logits(str(n), 8, 8, gap=6, seed=n, shift=4.0) for n in range(2, 5)]
    quay = _logits("quay", 90, 0, gap=6, seed=7, shift=4.0)
    alone = fit_calibration([ample])
    for unheard in ([quay], few[:2], [quay, *few[:2]]):
        assert _even_chance(fit_calibration([ample, *unheard])) == _even_chance(alone)
    assert _even_chance(fit_calibration([ample, *few])) == pytest.approx((_even_chance(alone) + 4) / 2, abs=0.4)


def test_figures_have_every_operating_point_with_its_rates() -> None:
    sets = [_logits("a", 40, 40, gap=3, seed=1), dataclasses.replace(_logits("b", 9, 0, gap=3, seed=2))]
    calibration = fit_calibration(sets)
    told = figures(sets, calibration, calibration.operating_points["balanced"])
    assert set(told["a"]["operating_points"]) == set(NAMES)
    assert told["a"]["operating_points"]["balanced"] == {
        "recall": told["a"]["recall"],
        "false_positive_rate": told["a"]["false_positive_rate"],
    }
    assert told["b"]["operating_points"]["high-recall"]["false_positive_rate"] is None
    json.dumps(told, allow_nan=False)


# With a prior

_PRIOR = Calibration(
    1.0,
    0.0,
    0.5,
    -0.5,
    {
        "balanced": OperatingPoint(0.5, 0.6),
        "high-recall": OperatingPoint(0.2, 0.3),
        "high-precision": OperatingPoint(0.9, 0.8),
    },
)


@pytest.mark.parametrize("count", [1, 3, 10, 40, 400])
def test_the_more_photographs_the_nearer_the_calibration_comes_to_their_own(count: int) -> None:
    site = _tiles_only(_logits("site", count, count, gap=2, seed=3, shift=1.0))  # their own: scale 2, even at 1
    calibration = fit_calibration([site], prior=_PRIOR)
    assert 0.7 < calibration.scale < 2.5
    assert -0.3 < _even_chance(calibration) < 1.3
    if count >= 40:
        assert _even_chance(calibration) == pytest.approx(1.0, abs=0.3)
    thresholds = [calibration.operating_points[name].window_threshold for name in NAMES]
    assert thresholds == sorted(thresholds)
    if count <= 3:
        assert thresholds == pytest.approx([0.2, 0.5, 0.9], abs=0.05)


def test_few_photographs_that_say_the_opposite_do_not_turn_the_scale() -> None:
    for count in (1, 5, 500):
        calibration = fit_calibration([_logits("site", count, count, gap=-6, seed=3)], prior=_PRIOR)
        assert calibration.scale > 0
        assert calibration.cell_scale > 0
        assert np.isfinite(dataclasses.astuple(calibration)[:4]).all()


def test_without_masks_cells_move_as_windows_do_and_keep_their_thresholds() -> None:
    site = _tiles_only(_logits("site", 100, 100, gap=6, seed=3, shift=2.0))
    calibration = fit_calibration([site], prior=_PRIOR)
    cell = -calibration.cell_bias / calibration.cell_scale
    assert cell - 1.0 == pytest.approx(_even_chance(calibration), abs=1e-9)
    assert calibration.cell_scale == 0.5
    for name in NAMES:
        assert calibration.operating_points[name].cell_threshold == _PRIOR.operating_points[name].cell_threshold


def test_with_masks_cells_are_fitted_too() -> None:
    site = _logits("site", 200, 200, gap=6, seed=3, shift=2.0)
    calibration = fit_calibration([site], prior=_PRIOR)
    assert -calibration.cell_bias / calibration.cell_scale == pytest.approx(2.0, abs=0.4)


def test_a_prior_is_taken_by_its_decisions() -> None:
    far = dataclasses.replace(_PRIOR.operating_points["balanced"], window_threshold=0.95)
    prior = dataclasses.replace(_PRIOR, operating_points={**_PRIOR.operating_points, "balanced": far})
    decided = np.log(0.95 / 0.05)
    site = _tiles_only(_logits("site", 2, 2, gap=1, seed=3, shift=decided))
    calibration = fit_calibration([site], prior=prior)
    assert calibration.operating_points["balanced"].window_threshold == pytest.approx(0.5, abs=0.02)
    assert _even_chance(calibration) == pytest.approx(decided, abs=0.5)


def test_a_cards_own_points_stay() -> None:
    prior = dataclasses.replace(_PRIOR, operating_points={"balanced": OperatingPoint(), "mine": OperatingPoint(0.4)})
    calibration = fit_calibration([_logits("site", 50, 50, gap=6, seed=3)], prior=prior)
    assert set(calibration.operating_points) == {"balanced", "mine"}
    assert calibration.operating_points["mine"] == OperatingPoint(0.4)


# A model, its photographs, the new file


def _site(folder: Path, *, cracks: int, others: int) -> Path:
    """Grey tiles on a dark site: to the tiny networks, for which dark is cracked, all of it looks cracked."""
    rng = np.random.default_rng(4)
    for name, count, grey in (("crack", cracks, 40), ("no_crack", others, 100)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            tile = np.full((224, 224, 3), grey + rng.integers(-15, 16), np.uint8)
            assert cv2.imwrite(str(folder / name / f"{number:02}.png"), tile)
    return folder


def test_a_dark_site_is_learnt_by_both_engines_from_ten_tiles(tiny_model: Path, tmp_path: Path) -> None:
    site = find_sets(_site(tmp_path / "site", cracks=5, others=5))
    model = open_model(tiny_model)
    made = calibrate(model, site, tmp_path / "new.tflite", threads=1)
    new = open_model(tmp_path / "new.tflite")
    assert new.flatbuffer == model.flatbuffer
    assert new.card == made.card
    assert not made.held_out
    assert made.fitted == made.measured == 10
    for engine in ("tiles", "dense"):
        before, after = made.before[engine]["site"], new.card.metrics[engine]["site"]
        assert before["false_positive_rate"] == 1.0
        assert after["false_positive_rate"] < 1.0
        assert after["ece"] < before["ece"]
        measured = evaluate(new, site, engine=engine, threads=1)["sets"]["site"]["metrics"]
        assert measured["accuracy"] == pytest.approx(after["accuracy"])
        assert measured["ece"] == pytest.approx(after["ece"], abs=1e-4)
    assert "the same windows" in new.card.notes
    assert new.card.data_sets[-1] == {"name": "site", "used_for": "calibration", "photographs": 10}
    assert new.card.data_sets[:-1] == model.card.data_sets
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_card_s_intervals_are_rounded_and_read_again(tiny_model: Path, tmp_path: Path) -> None:
    site = find_sets(_site(tmp_path / "site", cracks=6, others=6))
    made = calibrate(open_model(tiny_model), site, tmp_path / "new.tflite", threads=1)
    figures = open_model(tmp_path / "new.tflite").card.metrics["dense"]["site"]
    assert figures == made.card.metrics["dense"]["site"]
    low, high = figures["recall_interval"]
    assert (low, high) == (round(low, 4), round(high, 4))
    assert low <= figures["recall"] <= high
    assert set(figures["operating_points"]["balanced"]) == {"recall", "false_positive_rate"}


def test_half_is_kept_back_where_there_is_enough(tiny_model: Path, tmp_path: Path) -> None:
    site = find_sets(_site(tmp_path / "site", cracks=2 * FEWEST, others=2 * FEWEST))
    made = calibrate(open_model(tiny_model), site, tmp_path / "new.tflite", threads=1)
    assert made.held_out
    assert (made.fitted, made.measured) == (2 * FEWEST, 2 * FEWEST)
    assert made.card.metrics["dense"]["site"]["n"] == 2 * FEWEST
    assert made.card.metrics["dense"]["site"]["accuracy"] > 0.9
    table = format_calibrated(made)
    assert "0.500 → " in table
    assert "others, the other half" in table


def test_windows_without_a_voice_are_not_said_to_have_been_fitted(tiny_model: Path, tmp_path: Path) -> None:
    _site(tmp_path / "sites" / "large", cracks=FEWEST, others=FEWEST)
    _site(tmp_path / "sites" / "small", cracks=3, others=3)
    made = calibrate(open_model(tiny_model), find_sets(tmp_path / "sites"), tmp_path / "new.tflite", threads=1)
    assert (made.held_out, made.fitted, made.measured) == (False, 2 * FEWEST, 2 * FEWEST + 6)
    assert "Fitted on 40 windows; the figures are from all 46, those among them, so they flatter" in format_calibrated(
        made
    )


def test_figures_no_better_than_chance_are_asked_about(tiny_model: Path, tmp_path: Path) -> None:
    site = _site(tmp_path / "site", cracks=5, others=5)
    (site / "crack").rename(site / "dark")
    (site / "no_crack").rename(site / "crack")
    (site / "dark").rename(site / "no_crack")
    made = calibrate(open_model(tiny_model), find_sets(site), tmp_path / "new.tflite", threads=1)
    (last,) = format_calibrated(made).splitlines()[-1:]
    assert re.match(r"site: AUC 0\.0.* chance.*: are cracked and crack-free the wrong way round, in these photo", last)
    assert "is the crack the other output (--crack-index 1)?" in format_calibrated(made, crack_index=0)


def test_nothing_is_asked_of_what_is_in_order_and_of_what_is_too_few() -> None:
    def asked(auc: float | None, interval: list[float] | None) -> list[str]:
        figures = {"tiles": {"a": {"n": 9, "auc": auc, "auc_interval": interval}}}
        return doubts({**figures, "dense": figures["tiles"]}, reversed_by="reversed?", blind_by="blind?")

    assert asked(0.9, [0.45, 1.0]) == asked(None, None) == asked(0.0, None) == []
    assert asked(0.2, [0.1, 0.4]) == ["a: AUC 0.200, worse than chance: reversed?"]
    assert asked(0.2, [0.0, 0.6]) == ["a: AUC 0.200, no better than chance, as far as 9 windows tell: reversed? blind?"]
    assert asked(0.5, [0.5, 0.5]) == asked(0.5, [0.4, 0.6]) == ["a: AUC 0.500, tells nothing apart: blind?"]


def test_a_classifier_without_a_card_gets_one(write_model: Callable[..., Path], tmp_path: Path) -> None:
    site = find_sets(_site(tmp_path / "site", cracks=5, others=5))
    calibrate(open_model(write_model("classifier")), site, tmp_path / "new.tflite", threads=1)
    new = open_model(tmp_path / "new.tflite")
    assert new.has_card
    assert new.card.head == "probability"
    assert set(new.card.calibration) == {"tiles"}
    assert new.card.engine_calibration("tiles").bias < -0.5


@pytest.mark.parametrize(
    ("cracks", "others", "words"),
    [
        (3, 0, r"site: 3 windows with cracks, 0 without; .* without cracks in no_crack/"),
        (0, 2, r"site: 0 windows with cracks, 2 without; .* with cracks in crack/"),
    ],
)
def test_one_class_is_refused_with_what_is_missing(
    tiny_model: Path, tmp_path: Path, cracks: int, others: int, words: str
) -> None:
    site = find_sets(_site(tmp_path / "site", cracks=cracks, others=others))
    with pytest.raises(DataError, match=words):
        calibrate(open_model(tiny_model), site, tmp_path / "new.tflite", threads=1)
    assert not (tmp_path / "new.tflite").exists()


def test_an_existing_file_is_left_alone_unless_asked(tiny_model: Path, tmp_path: Path) -> None:
    site = find_sets(_site(tmp_path / "site", cracks=2, others=2))
    output = tmp_path / "new.tflite"
    output.write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"exists already; .*--overwrite"):
        calibrate(open_model(tiny_model), site, output, threads=1)
    assert output.read_bytes() == b"mine"
    calibrate(open_model(tiny_model), site, output, overwrite=True, threads=1)
    assert open_model(output).card.name == "tiny"
    with pytest.raises(OutputError, match="no such folder"):
        calibrate(open_model(tiny_model), site, tmp_path / "nowhere" / "new.tflite")


def test_a_write_that_fails_leaves_what_was_there(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = find_sets(_site(tmp_path / "site", cracks=2, others=2))
    output = tmp_path / "new.tflite"
    output.write_bytes(b"mine")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        calibrate(open_model(tiny_model), site, output, overwrite=True, threads=1)
    assert output.read_bytes() == b"mine"
    assert not list(tmp_path.glob(".*"))


def test_the_command_prints_before_and_after_and_needs_no_tensorflow(tiny_model: Path, tmp_path: Path) -> None:
    site = _site(tmp_path / "site", cracks=4, others=4)
    (site / "crack" / "broken.png").write_bytes(b"no picture")
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from crackedge.cli import main\n"
        "sys.argv[0] = 'crackedge'; main()"
    )
    output = tmp_path / "new.tflite"
    command = [sys.executable, "-c", code, "calibrate", str(tiny_model), str(site), "-o", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "0.500 → " in done.stdout
    assert "so they flatter" in done.stdout
    assert "skipped in site: crack/broken.png" in done.stdout
    assert f"--model {output}" in done.stdout
    with zipfile.ZipFile(output) as archive:
        assert json.loads(archive.read("crackedge.json"))["metrics"]["tiles"]["site"]["n"] == 8


def test_the_command_says_in_one_line_what_is_wrong(crackedge: Crackedge, tiny_model: Path, tmp_path: Path) -> None:
    site = _site(tmp_path / "site", cracks=2, others=0)
    done = crackedge("calibrate", str(tiny_model), str(site), "-o", str(tmp_path / "new.tflite"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("crackedge: site: 2 windows with cracks, 0 without")
    assert done.stdout == ""


def test_words_that_describe_the_rules_are_true() -> None:
    said = card_calibration.__doc__ or ""
    for share in (BALANCED_RATE, LEAST_RECALL, card_calibration.MEAN_RECALL, card_calibration.HIGH_PRECISION_RATE):
        assert f"{share:.0%}".replace("%", " %") in said
    assert f"fewer than {FEWEST} windows" in said
