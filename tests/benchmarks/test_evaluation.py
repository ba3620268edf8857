from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from crackedge.benchmarks import evaluation
from crackedge.benchmarks.calibration import sigmoid
from crackedge.benchmarks.data_sets import UNKNOWN, find_sets
from crackedge.benchmarks.evaluation import cell_truth, collect_logits, evaluate, format_evaluation, judge
from crackedge.edge_runtime.errors import DataError, OptionError
from crackedge.edge_runtime.models.card import Calibration, ModelCard, OperatingPoint, append_card, split_card
from crackedge.edge_runtime.models.model import Model, open_model
from crackedge.edge_runtime.scan.engine import make_engine

ENGINES = ("tiles", "dense")
BLACK_LOGIT = 6.0  # of the model that the tests score with; white has the negative


def save(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def grey(value: int, height: int = 224, width: int = 224) -> npt.NDArray[np.uint8]:
    return np.full((height, width), value, np.uint8)


@pytest.fixture
def model(tiny_model: Path) -> Model:
    return open_model(tiny_model)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three sets that a model which takes darkness for a crack gets partly right."""
    tiles = tmp_path / "tiles" / "val"
    for stem, value in (("black", 0), ("dark", 60), ("bright", 220)):
        save(tiles / "crack" / f"{stem}.png", grey(value, 256, 256))
    for stem, value in (("white", 255), ("grey", 150)):
        save(tiles / "no_crack" / f"{stem}.png", grey(value, 256, 256))
    save(tmp_path / "smooth" / "no_crack" / "a.png", grey(255))
    save(tmp_path / "smooth" / "no_crack" / "b.png", grey(0))
    picture, mask = grey(255, 400, 500), grey(0, 400, 500)
    picture[64:320, 64:96] = 0  # two whole columns of cells, dark, and marked as crack
    mask[64:320, 64:96] = 255
    save(tmp_path / "walls" / "images" / "w.png", picture)
    save(tmp_path / "walls" / "masks" / "w.png", mask)
    return tmp_path


@pytest.mark.parametrize("engine", ENGINES)
def test_each_set_has_the_figures_that_its_items_give(model: Model, root: Path, engine: str) -> None:
    result = evaluate(model, find_sets(root), engine=engine)
    assert (result["schema"], result["engine"], list(result["sets"])) == (1, engine, ["smooth", "tiles", "walls"])
    assert result["model"]["sha256"] == model.sha256
    tiles = result["sets"]["tiles"]
    assert tiles["n"] == 5
    assert tiles["metrics"]["accuracy"] == pytest.approx(4 / 5)  # `bright` is missed
    assert tiles["metrics"]["precision"] == 1
    assert tiles["metrics"]["recall"] == pytest.approx(2 / 3)
    assert tiles["metrics"]["f1"] == pytest.approx(0.8)
    assert tiles["metrics"]["auc"] == pytest.approx(5 / 6)  # only `grey` before `bright` is out of order
    scores = {item["file"]: item["score"] for item in tiles["items"]}
    assert scores["crack/black.png"] == pytest.approx(float(sigmoid(BLACK_LOGIT)), abs=1e-3)
    assert scores["no_crack/white.png"] == pytest.approx(float(sigmoid(-BLACK_LOGIT)), abs=1e-3)
    smooth = result["sets"]["smooth"]["metrics"]
    assert (smooth["recall"], smooth["false_positive_rate"], smooth["auc"]) == (None, 0.5, None)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_masked_picture_gives_its_windows_with_their_places(model: Model, root: Path, engine: str) -> None:
    walls = evaluate(model, find_sets(root / "walls"), engine=engine)["sets"]["walls"]
    got = {(item["x"], item["y"]): (item["label"], item["score"]) for item in walls["items"]}
    # at y 128 the windows reach row 352; x 256 would end at 480, and 400 px of height hold y 0 and 128
    assert set(got) == {(x, y) for x in (0, 128, 256) for y in (0, 128)}
    assert {place for place, (label, _) in got.items() if label == "crack"} == {(0, 0), (0, 128)}
    dark_cells = {(0, 0): 5, (0, 128): 6}
    for place, (_, score) in got.items():
        dark = dark_cells.get(place, 0)
        logit = BLACK_LOGIT * (dark - (49 - dark)) / 49
        assert score == pytest.approx(float(sigmoid(logit)), rel=0.05)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_scores_are_those_that_a_scan_in_the_field_gives(context_model: Path, root: Path, engine: str) -> None:
    model = open_model(context_model)
    (walls,) = find_sets(root / "walls")
    items = evaluate(model, [walls], engine=engine)["sets"]["walls"]["items"]
    scan = make_engine(model, engine=engine)
    picture = cv2.imread(str(root / "walls" / "images" / "w.png"))
    assert picture is not None
    scores = scan(np.asarray(picture, np.uint8))  # grey: the order of colours does not matter
    for item in items:
        row, column = scores.ys.tolist().index(item["y"]), scores.xs.tolist().index(item["x"])
        assert item["score"] == pytest.approx(float(scores.window_scores[row, column]), rel=1e-5)


def test_the_engine_is_the_cards_choice_unless_named(model: Model, root: Path) -> None:
    (smooth,) = find_sets(root / "smooth")
    assert evaluate(model, [smooth])["engine"] == "dense"
    with pytest.raises(OptionError, match="engine"):
        evaluate(model, [smooth], engine="sparse")
    with pytest.raises(OptionError, match="operating point"):
        evaluate(model, [smooth], operating_point="nowhere")


def test_calibration_and_thresholds_are_those_of_the_engine_and_point(
    tiny_model: Path, root: Path, tmp_path: Path, card: Callable[..., ModelCard]
) -> None:
    flatbuffer, _ = split_card(tiny_model.read_bytes(), origin="tiny")
    points = {"balanced": OperatingPoint(0.5, 0.5), "high-recall": OperatingPoint(1e-4, 1e-4)}
    changed = card(
        calibration={
            "tiles": Calibration(scale=0.5, bias=1.0, operating_points=points),
            "dense": Calibration(scale=2.0, bias=-1.0, operating_points=points),
        }
    )
    path = tmp_path / "changed.tflite"
    path.write_bytes(append_card(flatbuffer, changed))
    other = open_model(path)
    (tiles,) = find_sets(root / "tiles")
    for engine, scale, bias in (("tiles", 0.5, 1.0), ("dense", 2.0, -1.0)):
        result = evaluate(other, [tiles], engine=engine)
        score = next(i["score"] for i in result["sets"]["tiles"]["items"] if i["file"] == "no_crack/white.png")
        assert score == pytest.approx(float(sigmoid(-BLACK_LOGIT * scale + bias)), rel=0.05)
    generous = evaluate(other, [tiles], engine="tiles", operating_point="high-recall")
    assert generous["operating_point"] == {"name": "high-recall", "window_threshold": 1e-4, "cell_threshold": 1e-4}
    assert generous["sets"]["tiles"]["metrics"]["recall"] == 1


def test_collected_logits_can_be_judged_again_without_a_scan(model: Model, root: Path) -> None:
    (collected,) = collect_logits(model, find_sets(root / "tiles"))
    plain = judge(collected, Calibration(), OperatingPoint(0.5, 0.5))
    assert plain["metrics"] == evaluate(model, find_sets(root / "tiles"))["sets"]["tiles"]["metrics"]
    shifted = judge(collected, Calibration(scale=1.0, bias=20.0), OperatingPoint(0.5, 0.5))
    assert shifted["metrics"]["recall"] == shifted["metrics"]["false_positive_rate"] == 1
    assert shifted["metrics"]["auc"] == plain["metrics"]["auc"]


def test_windows_and_cells_have_calibrations_of_their_own(model: Model, root: Path) -> None:
    (walls,) = collect_logits(model, find_sets(root / "walls"))
    calibration = Calibration(scale=0.5, bias=1.0, cell_scale=0.25, cell_bias=-0.5)
    windows, cells = evaluation.window_scores(walls, calibration), evaluation.cell_scores(walls, calibration)
    assert windows == pytest.approx(sigmoid(0.5 * walls.window_logits + 1.0))
    assert cells == pytest.approx(sigmoid(0.25 * walls.cell_logits - 0.5))


@pytest.mark.parametrize("engine", ENGINES)
def test_each_set_has_its_intervals_and_the_rates_of_every_operating_point(
    model: Model, root: Path, engine: str
) -> None:
    result = evaluate(model, find_sets(root), engine=engine)
    tiles, smooth = result["sets"]["tiles"], result["sets"]["smooth"]
    low, high = tiles["metrics"]["accuracy_interval"]
    assert low < 4 / 5 < high
    assert smooth["metrics"]["auc_interval"] is smooth["metrics"]["accuracy_interval"] is None
    assert smooth["metrics"]["false_positive_rate_interval"] is not None
    assert set(tiles["operating_points"]) == {"balanced", "high-recall", "high-precision"}
    for name, rates in tiles["operating_points"].items():
        alone = evaluate(model, find_sets(root / "tiles"), engine=engine, operating_point=name)["sets"]["tiles"]
        assert rates == {key: alone["metrics"][key] for key in ("recall", "false_positive_rate")}
    text = format_evaluation(result)
    assert f"{low:.3f} to {high:.3f}" in text
    assert "high-recall: recall" in text


@pytest.mark.parametrize("engine", ENGINES)
def test_cells_are_known_by_masks_and_by_crack_free_tiles(model: Model, root: Path, engine: str) -> None:
    smooth, tiles, walls = collect_logits(model, find_sets(root), engine=engine)
    assert smooth.cell_labels.shape == (2 * 49,)
    assert not smooth.cell_labels.any()
    assert tiles.cell_labels.shape == (2 * 49,)  # of the crack tiles nobody knows which cell it is
    assert walls.cell_labels.shape == (12 * 15,)  # whole cells of 400x500 px
    assert int(walls.cell_labels.sum()) == 8  # 256 px of height, 32 of width
    assert int(walls.cell_at_border.sum()) == 2 * 15 + 2 * 10
    free, beside = ~walls.cell_labels, walls.cell_beside_crack
    assert int((free & beside).sum()) == 2 * 10 + 2  # the crack is at rows 2 to 9 of column 2
    assert not smooth.cell_beside_crack.any()
    assert walls.cell_logits[walls.cell_labels] == pytest.approx(np.full(8, BLACK_LOGIT), abs=0.1)
    assert walls.cell_logits[~walls.cell_labels] == pytest.approx(np.full(172, -BLACK_LOGIT), abs=0.1)
    assert [tiles.files[file] for file in sorted(set(tiles.cell_files.tolist()))] == [
        "no_crack/grey.png",
        "no_crack/white.png",
    ]


def test_a_cell_needs_sixteen_pixels_to_be_crack_and_none_to_be_free() -> None:
    truth = np.zeros((70, 130), np.int8)
    truth[0, :16] = 1
    truth[0, 32:47] = 1
    truth[40, 100] = UNKNOWN
    assert cell_truth(truth).tolist() == [[1, UNKNOWN, 0, 0], [0, 0, 0, UNKNOWN]]


def test_what_is_broken_is_skipped_counted_and_named(model: Model, root: Path) -> None:
    (root / "tiles" / "val" / "crack" / "broken.png").write_bytes(b"no picture")
    save(root / "walls" / "images" / "lonely.png", grey(255))
    seen: list[tuple[str, int, int]] = []
    result = evaluate(model, find_sets(root), progress=lambda *step: seen.append(step))
    assert [s["file"] for s in result["sets"]["tiles"]["skipped"]] == ["crack/broken.png"]
    assert [s["file"] for s in result["sets"]["walls"]["skipped"]] == ["images/lonely.png"]
    assert result["sets"]["tiles"]["n"] == 5
    assert [step for step in seen if step[0] == "tiles"][-1] == ("tiles", 6, 6)
    text = format_evaluation(result)
    assert "skipped in tiles: crack/broken.png: " in text
    assert "skipped in walls: images/lonely.png: has no masks/lonely.png" in text


def test_a_set_without_one_usable_picture_is_refused(model: Model, tmp_path: Path) -> None:
    (tmp_path / "crack").mkdir()
    (tmp_path / "crack" / "a.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"none of its 1 images can be used; crack/a\.png"):
        evaluate(model, find_sets(tmp_path))


def test_two_sets_of_one_name_are_refused(model: Model, root: Path) -> None:
    (smooth,) = find_sets(root / "smooth")
    with pytest.raises(DataError, match="several sets are called smooth"):
        evaluate(model, [smooth, dataclasses.replace(smooth)])


def test_the_result_is_plain_json_and_its_table_has_a_line_for_each_set(model: Model, root: Path) -> None:
    result = evaluate(model, find_sets(root))
    again = json.loads(json.dumps(result, allow_nan=False))
    assert again == result
    assert set(again["sets"]["walls"]["items"][0]) == {"file", "label", "score", "x", "y"}
    lines = format_evaluation(again).splitlines()
    assert lines[0].startswith("model tiny (int8, sha256 ")
    assert [line.split()[0] for line in lines[1:5]] == ["set", "smooth", "tiles", "walls"]
    assert lines[2].split()[3:5] == ["-", "-"]  # one class: no accuracy, no precision
    assert len({line.rstrip().rfind("0") for line in lines[2:5]}) == 1  # the columns are aligned


def test_a_picture_without_a_window_that_counts_still_gives_its_cells(model: Model, tmp_path: Path) -> None:
    mask = grey(0, 224, 224)
    mask[2, :40] = 255  # a crack in the margin only
    save(tmp_path / "images" / "a.png", grey(255))
    save(tmp_path / "masks" / "a.png", mask)
    (collected,) = collect_logits(model, find_sets(tmp_path))
    assert collected.window_logits.size == 0
    assert collected.cell_labels.size == 48 + 0  # the second cell has 8 px of it: neither
    figures = judge(collected, Calibration(), OperatingPoint())
    assert (figures["n"], figures["pictures"]) == (0, 0)
    assert figures["metrics"]["auc"] is None
    assert evaluation.window_scores(collected, Calibration()).shape == (0,)
