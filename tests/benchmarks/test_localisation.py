from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from crackedge.benchmarks.localisation import compare, format_comparison, main, measure
from crackedge.benchmarks.marks import FrameMarks, read_marks
from crackedge.benchmarks.polylines import REFERENCE, FrameCracks, Polyline, read_polylines, sampled
from crackedge.edge_runtime.errors import DataError

SIZE_WH = (640, 480)
ALONG = [[0, 240], [600, 240]]  # crosses the cells of row 7, y 224 to 256
Cells = Sequence[tuple[int, int]]


def marks(*cells: tuple[int, int]) -> FrameMarks:
    return FrameMarks(SIZE_WH, cells)


def results_file(folder: Path, frames: dict[int, Cells], *, uri: str = "flights/wall.mp4") -> Path:
    records: list[dict[str, Any]] = [
        {"type": "header", "schema": 1, "model": {"name": "nano", "version": "1", "sha256": "0" * 64}}
        | {"source": {"uri": uri, "kind": "video"}, "plan": {"engine": "dense"}}
    ]
    for index, cells in frames.items():
        regions = [{"bbox": [0, 0, 1, 1], "cells": [list(cell)]} for cell in cells]  # what it takes no notice of, aside
        records.append({"type": "frame", "index": index, "width": 640, "height": 480, "regions": regions})
        records.append({"type": "gap", "reason": "stalled"})
    records.append({"type": "summary", "frames": len(frames)})
    path = folder / "results.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def polylines_file(folder: Path, frames: dict[int, tuple[list[Polyline], list[Polyline]]]) -> Path:
    path = folder / "polylines.json"
    by_index = {str(i): {"cracks": cracks, "doubtful": doubtful} for i, (cracks, doubtful) in frames.items()}
    path.write_text(json.dumps({"wall.mp4": {"size_wh": SIZE_WH, "source": "ours, MIT", "frames": by_index}}))
    return path


def test_a_cell_on_the_crack_finds_as_much_of_it_as_lies_within_64_px() -> None:
    fit = measure(FrameCracks([ALONG]), marks((7, 5)), index=3)  # x 160 to 192
    assert fit.index == 3
    assert fit.length_px == pytest.approx(600)
    assert fit.found == pytest.approx((192 + 64 - (160 - 64)) / 600)
    assert (fit.cells, fit.far) == (1, 0)


def test_a_cell_64_px_beside_the_crack_is_near_and_the_next_one_is_far() -> None:
    crack = [[0, 256], [600, 256]]
    beside = measure(FrameCracks([crack]), marks((5, 5)))  # y 160 to 192: 64 px above it
    assert beside.found == pytest.approx(32 / 600, abs=1.5 / 600)
    assert beside.far == 0
    beyond = measure(FrameCracks([crack]), marks((4, 5)))
    assert (beyond.found, beyond.far) == (0.0, 1)


def test_the_distance_to_a_corner_is_the_straight_one() -> None:
    square = marks((5, 5))  # 160 to 192 both ways
    assert measure(FrameCracks([[[192 + 45, 192 + 45], [300, 300]]]), square).far == 0  # 63.6 px
    assert measure(FrameCracks([[[192 + 46, 192 + 46], [300, 300]]]), square).far == 1  # 65.1 px


def test_a_cell_ends_at_the_edge_of_the_frame() -> None:
    crack = FrameCracks([[[0, 100], [600, 100]]])
    cells = [(5, 2)]  # y 160 to 192, 60 px below
    assert measure(crack, FrameMarks((640, 480), cells)).far == 0
    right = FrameCracks([[[660, 0], [660, 100]]])
    assert measure(right, FrameMarks((640, 480), [(1, 18)])).far == 0  # x 576 to 608: 52 px away
    assert measure(right, FrameMarks((590, 480), [(1, 18)])).far == 1  # x 576 to 590: 70 px away


def test_a_doubtful_line_excuses_cells_and_adds_no_length() -> None:
    doubtful = [[0, 0], [600, 0]]
    fit = measure(FrameCracks([ALONG], [doubtful]), marks((0, 5), (14, 5)))
    assert fit.length_px == pytest.approx(600)
    assert (fit.found, fit.cells, fit.far) == (0.0, 2, 1)


def test_a_frame_without_crack_has_nothing_to_find_and_all_its_cells_are_far() -> None:
    fit = measure(FrameCracks([]), marks((0, 0), (1, 1)))
    assert (fit.length_px, fit.found, fit.far) == (0.0, None, 2)
    empty = measure(FrameCracks([ALONG]), marks())
    assert (empty.found, empty.cells, empty.far) == (0.0, 0, 0)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 700), st.integers(0, 700)), min_size=2, max_size=6), min_size=1, max_size=3
    )
)
def test_sampling_keeps_length_and_corners_and_leaves_no_gap(lines: list[list[tuple[int, int]]]) -> None:
    points, lengths = sampled(lines)
    edges = [(a, b) for line in lines for a, b in itertools.pairwise(line)]
    assert lengths.sum() == pytest.approx(sum(((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) ** 0.5 for a, b in edges))
    assert lengths.max() <= 1.0
    assert {corner for line in lines for corner in line} <= set(map(tuple, points.tolist()))


def test_the_figures_over_all_frames(tmp_path: Path) -> None:
    whole: Cells = [(7, col) for col in range(0, 19, 4)]
    results = results_file(tmp_path, {0: whole, 10: [(0, 0)] * 50, 20: [(7, 5), (0, 0)], 40: [(0, 0)]})
    polylines = polylines_file(tmp_path, {0: ([ALONG], []), 20: ([ALONG], []), 40: ([], [])})
    result = compare(results, polylines=polylines)
    assert json.loads(json.dumps(result)) == result
    assert result["video"] == "wall.mp4"
    assert [one["index"] for one in result["frames"]] == [0, 20, 40]  # frame 10 has no polylines
    assert [one["found"] for one in result["frames"]] == [pytest.approx(1), pytest.approx(160 / 600), None]
    assert (result["frames_found"], result["frames_with_cracks"], result["found_share"]) == (1, 2, 0.5)
    assert (result["far"], result["cells"], result["far_share"]) == (2, 8, 0.25)
    assert result["targets_met"] is False
    table = format_comparison(result)
    assert "1 of 2 frames (0.500)" in table
    assert "2 of 8 marked cells (0.250)" in table


@pytest.mark.parametrize(("end", "met"), [(266, True), (268, False)])
def test_sixty_percent_of_a_frame_is_enough(tmp_path: Path, end: int, met: bool) -> None:
    results = results_file(tmp_path, {0: [(7, 5)]})  # near it: x 96 to 256, 160 px
    polylines = polylines_file(tmp_path, {0: ([[[96, 240], [96 + end, 240]]], [])})
    result = compare(results, polylines=polylines)
    assert result["frames"][0]["found"] == pytest.approx(160 / end, abs=1 / end)
    assert result["targets_met"] is met


def test_the_command_checks_the_targets(tmp_path: Path) -> None:
    good = results_file(tmp_path, {0: [(7, col) for col in range(0, 19, 4)]}, uri="copy.mp4")
    options = [str(good), "--polylines", str(polylines_file(tmp_path, {0: ([ALONG], [])})), "--video", "wall.mp4"]
    written = tmp_path / "figures.json"
    done = CliRunner().invoke(main, [*options, "--json", str(written), "--check"])
    assert done.exit_code == 0, done.output
    assert json.loads(written.read_text())["targets_met"] is True
    bad = results_file(tmp_path, {0: []})
    assert CliRunner().invoke(main, [str(bad), *options[1:]]).exit_code == 0
    missed = CliRunner().invoke(main, [str(bad), *options[1:], "--check"])
    assert missed.exit_code == 5
    assert "0 of 1 frames" in missed.output


def failure(*arguments: str) -> str:
    run = CliRunner().invoke(main, list(arguments))
    assert run.exit_code == 1
    assert run.stderr.startswith("Error: ")
    assert len(run.stderr.splitlines()) == 1
    return run.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no header"),
        ("no json\n", "line 1 is no record"),
        ("[1]\n", "line 1 is no record"),
        ('{"type": "header"}\n', "line 1 is no record ('model' is missing)"),
    ],
)
def test_results_that_are_none_are_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(content)
    assert message in failure(str(path))


def test_a_torn_or_foreign_line_is_named(tmp_path: Path) -> None:
    path = results_file(tmp_path, {0: [], 20: []})
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], lines[3][:30]]))
    assert "line 4 is no record" in failure(str(path))
    path.write_bytes(b"\xff\xfe\x00")
    assert "is no text" in failure(str(path))
    assert "cannot be read" in failure(str(tmp_path / "none.jsonl"))


def test_results_and_polylines_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    polylines = polylines_file(tmp_path, {0: ([ALONG], []), 20: ([ALONG], [])})
    options = ["--polylines", str(polylines)]
    assert "1 of the 2 frames" in failure(str(results_file(tmp_path, {0: []})), *options)
    other = results_file(tmp_path, {0: [], 20: []}, uri="other.mp4")
    assert "no polylines of 'other.mp4', but of wall.mp4" in failure(str(other), *options)
    other.write_text(other.read_text().replace('"width": 640', '"width": 1280'))
    assert "frame 0 has 1280x480 px; expected 640x480" in failure(str(other), *options, "--video", "wall.mp4")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "no polylines of"),
        ('{"wall.mp4": {"frames": {}}}', "malformed ('size_wh' is missing)"),
        ('{"wall.mp4": {"size_wh": [640, 480], "frames": {}}}', "no frames of"),
        ('{"wall.mp4": {"size_wh": [640, 480], "frames": {"0": {"cracks": [[[1, 2]]], "doubtful": []}}}}', "malformed"),
        ('{"wall.mp4": {"size_wh": [640, 480], "frames": {"0": {"cracks": [[[1, 2], [NaN, 1]]]}}}}', "malformed"),
    ],
)
def test_polylines_that_are_none_are_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    results, path = results_file(tmp_path, {0: []}), tmp_path / "polylines.json"
    path.write_text(content)
    assert message in failure(str(results), "--polylines", str(path))
    with pytest.raises(DataError, match="cannot be read"):
        read_polylines(tmp_path / "none.json", video="wall.mp4")


@pytest.mark.parametrize(("video", "count"), [("concrete_pan.mp4", 232), ("basement_wall.mp4", 728)])
def test_our_polylines_are_in_every_20th_frame_and_inside_it(video: str, count: int) -> None:
    known = read_polylines(REFERENCE, video=video)
    assert sorted(known.frames) == list(range(0, count, 20))
    width, height = known.size_wh
    for frame in known.frames.values():
        assert frame.cracks
        for x, y in (point for line in [*frame.cracks, *frame.doubtful] for point in line):
            assert 0 <= x < width
            assert 0 <= y < height


def test_marks_are_read_by_frame(tmp_path: Path) -> None:
    run = read_marks(results_file(tmp_path, {0: [(1, 2), (3, 4)], 5: []}))
    assert (run.source, run.model, run.plan) == ("flights/wall.mp4", "nano", {"engine": "dense"})
    assert run.frames == {0: FrameMarks((640, 480), [(1, 2), (3, 4)]), 5: FrameMarks((640, 480), [])}
