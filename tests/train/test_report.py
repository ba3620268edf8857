from __future__ import annotations

import base64
import html.parser
import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("keras", reason="the workstation's packages are not installed")

import keras

from crackedge.benchmarks.data_sets import read_picture, read_set
from crackedge.edge_runtime.errors import OutputError
from crackedge.train.report import MOST_MISTAKES, write_report
from crackedge.train.validation import SetScores, figures

CONFIG: dict[str, Any] = {
    "recipe": {"name": "tiny", "patience": 0},
    "weights": None,
    "sets": [{"name": "a", "kind": "classes", "photographs": 9, "weight": 1, "licence": "CC0", "source": "drawn"}],
    "held_out": [],
    "leaks": {"allowed": False, "shared_photographs": {}},
    "tools": {"keras": "3"},
}


class Page(html.parser.HTMLParser):
    """What a page shows: its text, its tables by caption or id, and its pictures by what they are called."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.text = ""
        self.tables: dict[str, list[list[str]]] = {}
        self.pictures: list[tuple[str, str, bytes]] = []
        self._rows: list[list[str]] = []
        self._name = ""
        self._inside = ""
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._inside = tag if tag in ("td", "th", "caption") else self._inside
        assert tag not in ("script", "link", "iframe")
        if tag == "table":
            self._rows, self._name = [], given.get("id", "")
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
        elif tag == "img":
            head, data = given["src"].split(",")
            assert head.startswith("data:image/")
            assert head.endswith(";base64")
            self.pictures.append((given["alt"], head[11:-7], base64.b64decode(data, validate=True)))

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""
        if tag == "table":
            self.tables[self._name] = self._rows

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._inside == "caption":
            self._name += data
        elif self._inside:
            self._rows[-1][-1] += data

    def mistakes(self) -> list[str]:
        return [alt for alt, kind, _ in self.pictures if kind == "jpeg"]


@pytest.fixture
def network() -> keras.Model:
    pixels = keras.Input((None, None, 3), name="pixels")
    return keras.Model(pixels, keras.layers.Conv2D(1, 1, name="logit_map")(pixels), name="one_layer")


@pytest.fixture
def report(tmp_path: Path, network: keras.Model) -> Callable[..., Page]:
    """Writes a report and reads it."""

    def write(scores: Sequence[SetScores], *, epochs: int = 2, config: dict[str, Any] | None = None) -> Page:
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        val = {one.name: figures(one) for one in scores}
        losses = [one["log_loss"] for one in val.values()]
        history = [
            {
                "epoch": number,
                "loss": 1 / number,
                "val_loss": float(np.mean(losses)) if losses else None,
                "learning_rate": 0.001,
                "wall_s": 60.0,
                "val": val,
            }
            for number in range(1, epochs + 1)
        ]
        write_report(folder, scores, history=history, config=config or CONFIG, network=network)
        assert cv2.imread(str(folder / "curves.png")) is not None
        return Page(folder / "report.html")

    return write


def scored(path: Path, logit_of: Callable[[int, bool], float], *, name: str = "") -> SetScores:
    """The windows of a set, with logits by number and class."""
    labelled = read_set(path)
    found = [(entry, window) for entry in labelled.items for window in read_picture(entry).windows]
    logits = [logit_of(number, window.crack) for number, (_, window) in enumerate(found)]
    entries, windows = zip(*found, strict=True)
    return SetScores(name or labelled.base_name, entries, windows, np.array(logits, np.float32), {})


def check_pictures(page: Page) -> None:
    for _, kind, data in page.pictures:
        if kind == "jpeg":
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            assert picture is not None
            assert picture.shape == (224, 224, 3)
        else:
            assert kind == "svg+xml"
            assert ET.fromstring(data).tag == "{http://www.w3.org/2000/svg}svg"


def test_a_run_leaves_a_report_of_its_figures(trained_run: Path) -> None:
    page = Page(trained_run / "report.html")
    measured = json.loads((trained_run / "metrics.json").read_text())
    assert set(measured) == {"tiles", "masked", "boxed"}
    assert [row[0] for row in page.tables["figures"][1:]] == list(measured)
    for name, one in measured.items():
        counts = {key: str(count) for key, count in one["confusion"].items()}
        assert page.tables[name][1:] == [
            ["is crack", counts["true_crack"], counts["false_no_crack"]],
            ["is no crack", counts["false_crack"], counts["true_no_crack"]],
        ]
    columns = page.tables["figures"][0]
    tiles = next(row for row in page.tables["figures"] if row[0] == "tiles")
    for column, key in (("accuracy", "accuracy"), ("AUC", "auc"), ("log loss", "log_loss"), ("ECE", "ece")):
        assert tiles[columns.index(column)] == f"{measured['tiles'][key]:.4f}"
    charts = {alt for alt, kind, _ in page.pictures if kind == "svg+xml"}
    assert charts >= {"ROC", "Precision and recall", "Reliability", "Loss", "Validation accuracy", "Learning rate"}
    check_pictures(page)
    assert page.mistakes(), "a network of two epochs is wrong somewhere"
    assert "uncalibrated" in page.text
    assert "mobilenetv2_0.35, 411,489 parameters" in page.text
    assert "backbone/Conv1" in page.text
    assert len(page.source) < 3e6
    assert "http" not in page.source.split("<section>")[0], "nothing is fetched"


def test_the_worst_of_each_set_and_kind_come_first(report: Callable[..., Page], photographs: Path) -> None:
    def wrong(number: int, crack: bool) -> float:
        return (-1.0 if crack else 1.0) * (1 + number)

    page = report([scored(photographs / "tiles" / "val", wrong), scored(photographs / "boxed" / "val", wrong)])
    assert len(page.mistakes()) == 18
    assert page.mistakes()[:7] == [*(f"crack/{number}.png" for number in (5, 4, 3, 2, 1, 0)), "no_crack/5.png"]
    many = [scored(photographs / "tiles" / "val", wrong, name=str(number)) for number in range(4)]
    page = report(many)
    assert len(page.mistakes()) == MOST_MISTAKES
    assert {mistake.split("/")[1] for mistake in page.mistakes()} == {"3.png", "4.png", "5.png"}
    assert "tiles: missed" not in page.text
    assert "score 0.002, labelled crack" in page.text  # logit -6
    assert page.tables["0"][1:] == [["is crack", "0", "6"], ["is no crack", "6", "0"]]


def test_a_photograph_shows_its_worst_window_only(report: Callable[..., Page], photographs: Path) -> None:
    one = scored(photographs / "tiles" / "val", lambda _, crack: 2.0 if crack else -2.0)
    again = SetScores(
        one.name, one.entries[:1] * 3, one.windows[:1] * 3, np.array([-1, -3, -2], np.float32), one.skipped
    )
    page = report([again])
    assert page.mistakes() == ["crack/0.png"]
    assert "score 0.047" in page.text  # logit -3


def test_no_mistakes(report: Callable[..., Page], photographs: Path) -> None:
    page = report([scored(photographs / "tiles" / "val", lambda _, crack: 2.0 if crack else -2.0)])
    assert page.mistakes() == []
    assert "None to show." in page.text


def test_pictures_that_are_gone_or_smaller_now_are_passed_over(
    report: Callable[..., Page], photographs: Path, tmp_path: Path
) -> None:
    root = tmp_path / "masked"
    shutil.copytree(photographs / "masked" / "val", root)
    one = scored(root, lambda number, _: -5.0 + number)
    (root / "images" / "0.png").unlink()
    (root / "images" / "1.png").write_bytes(b"no picture")
    page = report([one])
    assert page.mistakes() == [f"images/{number}.png" for number in range(2, 5)]
    check_pictures(page)


@pytest.mark.parametrize("logit", [3.0, -3.0])
def test_sets_of_one_class_have_no_curves_of_two(report: Callable[..., Page], photographs: Path, logit: float) -> None:
    page = report([scored(photographs / "boxed" / "val", lambda *_: logit)])
    assert "ROC" not in {alt for alt, _, _ in page.pictures}
    assert "No set has both classes." in page.text
    row = page.tables["figures"][1]
    assert row[:5] == ["boxed", "6", "0", "–", "–"]  # noqa: RUF001
    assert row[5] == f"{logit > 0:.4f}"
    check_pictures(page)


def test_nothing_to_validate_with_and_one_epoch(report: Callable[..., Page]) -> None:
    page = report([], epochs=1)
    assert "nothing was measured" in page.text
    assert "figures" not in page.tables
    assert {"Loss", "Learning rate"} <= {alt for alt, _, _ in page.pictures}
    check_pictures(page)


def test_names_are_text_and_not_markup(report: Callable[..., Page], photographs: Path, tmp_path: Path) -> None:
    name = "_<script>$a$&\udcff\u7acb"
    root = tmp_path / '<b>"x'
    shutil.copytree(photographs / "tiles" / "val", root / "tiles")
    image = root / "tiles" / "crack" / "<i>'\".png"
    (root / "tiles" / "crack" / "0.png").rename(image)
    page = report(
        [scored(root / "tiles", lambda *_: -1.0, name=name)],
        config={**CONFIG, "leaks": {"shared_photographs": {"a": "a <b>: 3 of 9"}}},
    )
    assert page.tables["figures"][1][0] == "_<script>$a$&?\u7acb"
    assert "crack/<i>'\".png" in page.mistakes()
    assert "The figures flatter. a <b>: 3 of 9." in page.text
    check_pictures(page)


def test_the_kept_epoch_is_named(report: Callable[..., Page], photographs: Path) -> None:
    config = {**CONFIG, "recipe": {"name": "tiny", "patience": 3}}
    page = report([scored(photographs / "tiles" / "val", lambda *_: 1.0)], epochs=3, config=config)
    assert "3; the network is that of epoch 1" in page.text  # of equal losses the first


def test_a_report_that_cannot_be_written_is_said(report: Callable[..., Page], tmp_path: Path) -> None:
    (tmp_path / "run" / "report.html").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"report\.html: cannot be written"):
        report([])
