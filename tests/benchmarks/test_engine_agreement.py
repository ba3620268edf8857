from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from crackedge.benchmarks.data_sets import find_sets
from crackedge.benchmarks.engine_agreement import agreement, border, evaluate_both, format_engines
from crackedge.benchmarks.evaluation import SetLogits, evaluate
from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.models.card import Calibration, ModelCard, OperatingPoint
from crackedge.edge_runtime.models.model import open_model

POINTS = {engine: OperatingPoint() for engine in ("tiles", "dense")}
PLAIN = {engine: Calibration() for engine in ("tiles", "dense")}


def save(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """White walls with a dark crack down the middle, whose border is dark in one of four, and a set of tiles."""
    for number in range(4):
        picture, mask = np.full((448, 448), 255, np.uint8), np.zeros((448, 448), np.uint8)
        if number == 0:
            picture[:32] = 0
        picture[:, 192:224] = 0
        mask[:, 192:224] = 255
        save(tmp_path / "walls" / "images" / f"{number}.png", picture)
        save(tmp_path / "walls" / "masks" / f"{number}.png", mask)
        save(tmp_path / "tiles" / "crack" / f"{number}.png", np.full((224, 224), 10 * number, np.uint8))
        save(tmp_path / "tiles" / "no_crack" / f"{number}.png", np.full((224, 224), 255 - 10 * number, np.uint8))
    return tmp_path


def logits(values: list[float], labels: list[bool], **changes: npt.NDArray[np.generic]) -> SetLogits:
    """A window a picture, and a cell like it."""
    number, crack, said = np.arange(len(values)), np.array(labels), np.array(values, np.float32)
    nowhere = np.zeros(len(values), np.bool_)
    one = SetLogits(
        name="a",
        files=tuple(f"{n}.png" for n in number),
        window_logits=said,
        window_labels=crack,
        window_files=number,
        window_xy=np.zeros((len(values), 2), np.intp),
        cell_logits=said,
        cell_labels=crack,
        cell_files=number,
        cell_at_border=nowhere,
        cell_beside_crack=nowhere,
    )
    return dataclasses.replace(one, **changes)  # type: ignore[arg-type]


def test_decisions_are_compared_each_by_its_own_calibration() -> None:
    labels = [True, True, True, False, False, False, False, False]
    tiles = logits([3, 2, -1, -1, -2, -3, -4, 1], labels)
    dense = logits([1, 0.5, -2, -3, -4, -5, -6, -1.5], labels)  # the last is decided otherwise
    found = agreement({"tiles": tiles, "dense": dense}, PLAIN, POINTS)
    assert (found["n"], found["decided_alike"]) == (8, 7 / 8)
    low, high = found["decided_alike_interval"]
    assert low < 7 / 8 < high
    assert found["auc"] == {"tiles": pytest.approx((5 + 5 + 3.5) / 15), "dense": pytest.approx((5 + 5 + 4) / 15)}
    assert found["auc_difference"] == pytest.approx(0.5 / 15)
    assert found["auc_difference_interval"][0] < 0.5 / 15 < found["auc_difference_interval"][1]
    lifted = {"tiles": Calibration(), "dense": Calibration(bias=2.0)}  # now -1.5 and -2 reach it too
    assert agreement({"tiles": tiles, "dense": dense}, lifted, POINTS)["decided_alike"] == 7 / 8
    strict = {"tiles": OperatingPoint(), "dense": OperatingPoint(window_threshold=0.7)}
    assert agreement({"tiles": tiles, "dense": dense}, PLAIN, strict)["decided_alike"] == 6 / 8


def test_the_same_engine_twice_differs_in_nothing() -> None:
    one = logits([3, 2, -1, -1, -2, -3], [True, True, True, False, False, False])
    found = agreement({"tiles": one, "dense": one}, PLAIN, POINTS)
    assert found["decided_alike"] == 1
    assert (found["auc_difference"], found["auc_difference_interval"]) == (0, [0, 0])


def test_one_class_and_no_window_have_no_difference() -> None:
    cracks = logits([1, 2], [True, True])
    found = agreement({"tiles": cracks, "dense": cracks}, PLAIN, POINTS)
    assert (found["decided_alike"], found["auc_difference"], found["auc_difference_interval"]) == (1, None, None)
    none = logits([], [])
    empty = agreement({"tiles": none, "dense": none}, PLAIN, POINTS)
    assert (empty["n"], empty["decided_alike"], empty["decided_alike_interval"]) == (0, None, None)


def test_the_border_is_held_against_the_inside_away_from_cracks() -> None:
    at_border = np.array([True, True, True, True, False, False, False, False, False, False])
    labels = [False] * 9 + [True]
    beside = np.arange(10) == 8
    one = logits([2, -2, -2, -2, -2, -2, -2, 3, 5, 9], labels, cell_at_border=at_border, cell_beside_crack=beside)
    found = border(one, Calibration(), OperatingPoint())
    assert found is not None
    assert (found["n_border"], found["n_inside"]) == (4, 4)
    assert found["false_positive_rate_border"] == found["false_positive_rate_inside"] == 0.25
    assert found["difference"] == 0
    assert found["difference_interval"][0] < 0 < found["difference_interval"][1]
    strict = border(one, Calibration(), OperatingPoint(cell_threshold=0.9))
    assert strict is not None
    assert strict["difference"] == -0.25
    assert border(logits([1, 2], [False, False]), Calibration(), OperatingPoint()) is None


def test_a_dark_border_fires_and_is_told(tiny_model: Path, root: Path) -> None:
    model = open_model(tiny_model)
    result = evaluate_both(model, find_sets(root), threads=1)
    walls, tiles = result["engines"]["walls"], result["engines"]["tiles"]
    assert walls["decided_alike"] == tiles["decided_alike"] == 1  # its cells see nothing but themselves
    assert tiles["border"] is None
    # 14x14 cells, one column of them cracked and one to each side beside it
    inside, outermost = 12 * 9, 14 * 11 - 12 * 9
    assert (walls["border"]["n_border"], walls["border"]["n_inside"]) == (4 * outermost, 4 * inside)
    assert walls["border"]["false_positive_rate_border"] == pytest.approx(11 / (4 * outermost))
    assert walls["border"]["false_positive_rate_inside"] == 0
    del result["engines"]
    assert result == evaluate(model, find_sets(root), engine="dense", threads=1)


def test_a_network_with_context_is_compared_window_by_window(context_model: Path, root: Path) -> None:
    result = evaluate_both(open_model(context_model), find_sets(root / "walls"), threads=1)
    (one,) = result["engines"].values()
    tiles = evaluate(open_model(context_model), find_sets(root / "walls"), engine="tiles", threads=1)["sets"]["walls"]
    said = [[item["score"] >= 0.5 for item in found["items"]] for found in (tiles, result["sets"]["walls"])]
    assert one["n"] == 16
    assert one["decided_alike"] == np.mean(np.array(said[0]) == np.array(said[1]))
    text = format_engines(result["engines"])
    assert text.startswith("tiles and dense, each by its own calibration\nset ")
    assert "false pos. at the border" in text


def test_a_classifier_has_one_engine(
    write_model: Callable[..., Path], card: Callable[..., ModelCard], root: Path
) -> None:
    model = open_model(write_model("classifier", card=card(head="probability")))
    with pytest.raises(OptionError, match="needs a logit map"):
        evaluate_both(model, find_sets(root))
    with pytest.raises(OptionError, match="nowhere"):
        evaluate_both(open_model(write_model("logit-map-int8", card=card())), [], operating_point="nowhere")
