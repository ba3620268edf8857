"""Where to look: polygons in a file, and the cells of a frame that they leave."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackedge.edge_runtime import OptionError, Scanner, SourceError, lattice
from crackedge.edge_runtime.scan.area import Area, read_area

Write = Callable[[Any], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def dump(content: Any) -> Path:
        path = tmp_path / "roi.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return dump


def rectangle(x0: float, y0: float, x1: float, y1: float) -> tuple[tuple[float, float], ...]:
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def test_a_file_says_where(write: Write) -> None:
    content = {"region": [[[0, 0], [640, 0], [640, 480.5]]], "ignore": [[[1, 2], [3, 4], [5, 6]]]}
    assert read_area(write(content)) == Area((((0, 0), (640, 0), (640, 480.5)),), (((1, 2), (3, 4), (5, 6)),), "pixel")
    area = read_area(write({"ignore": [[[0, 0], [1, 0], [1, 0.5]]], "unit": "fraction"}))
    assert area == Area((), (((0, 0), (1, 0), (1, 0.5)),), "fraction")


TRIANGLE = [[0, 0], [9, 0], [9, 9]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not a JSON file"),
        ("\udcff".encode("utf-8", "surrogateescape").decode("latin-1"), "not a JSON file"),
        ([TRIANGLE], "expected an object with some of region, ignore, unit"),
        ({}, "no polygon in it"),
        ({"region": []}, "no polygon in it"),
        ({"regions": [TRIANGLE]}, "key 'regions': expected some of region, ignore, unit"),
        ({"region": [TRIANGLE], "unit": "metre"}, "unit 'metre': expected pixel or fraction"),
        ({"region": [TRIANGLE], "unit": ["pixel"]}, "unit .* expected pixel or fraction"),
        ({"region": {"a": TRIANGLE}}, "region: expected a list of polygons"),
        ({"region": TRIANGLE}, r"region, polygon 1: expected a list of points, \[\[x, y\], ...\]"),
        ({"region": [TRIANGLE, [[0, 0], [1, 1]]]}, "region, polygon 2: 2 points; expected at least 3"),
        ({"ignore": [[[0, 0], [1], [2, 2]]]}, "ignore, polygon 1: expected a list of points"),
        ({"ignore": [[[0, 0], [1, "x"], [2, 2]]]}, 'ignore, polygon 1: "x": expected a number'),
        ({"ignore": [[[0, 0], [1, True], [2, 2]]]}, "ignore, polygon 1: true: expected a number"),
        ('{"ignore": [[[0, 0], [1, NaN], [2, 2]]]}', "ignore, polygon 1: NaN: expected a number"),
        ({"region": [[[0, 0], [-1, 5], [2, 2]]]}, 'region, polygon 1: -1: expected 0 to 100000; .*"unit": "fraction"'),
        ({"region": [TRIANGLE], "unit": "fraction"}, "region, polygon 1: 9: expected 0 to 1$"),
    ],
)
def test_faults_are_named_in_one_line(content: Any, words: str, write: Write) -> None:
    path = write(content)
    with pytest.raises(OptionError, match=words) as raised:
        read_area(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.json: cannot be read \(No such file or directory\); give"):
        read_area(tmp_path / "none.json")


@given(
    hw=st.tuples(st.integers(20, 700), st.integers(20, 700)),
    corner=st.tuples(st.floats(0, 0.7), st.floats(0, 0.7)),
    side=st.tuples(st.floats(0.25, 1), st.floats(0.25, 1)),
    inverted=st.booleans(),
)
def test_cells_of_which_most_is_inside(
    hw: tuple[int, int], corner: tuple[float, float], side: tuple[float, float], inverted: bool
) -> None:
    height, width = hw
    x0, y0 = corner[0] * width, corner[1] * height
    x1, y1 = min(x0 + side[0] * width, width), min(y0 + side[1] * height, height)
    polygons = (rectangle(x0, y0, x1, y1),)
    area = Area(ignore=polygons) if inverted else Area(polygons)
    try:
        cells = area.cells(hw)
    except OptionError:
        return  # too narrow for any cell
    assert cells.shape == lattice.cells_hw(height, width)
    for (row, col), allowed in np.ndenumerate(cells):
        top, left = 32 * row, 32 * col
        bottom, right = min(top + 32, height), min(left + 32, width)
        if bottom <= top or right <= left:
            assert not allowed, "beyond the frame"
            continue
        inside = max(0.0, min(x1, right) - max(x0, left)) * max(0.0, min(y1, bottom) - max(y0, top))
        share = inside / ((right - left) * (bottom - top))
        doubt = 1 / (right - left) + 1 / (bottom - top)  # pixels are in it or not
        if abs(share - 0.5) > doubt:
            assert allowed == ((share > 0.5) != inverted)


def test_half_of_a_cell_is_enough_and_less_is_not() -> None:
    assert Area((rectangle(0, 0, 320, 16),)).cells((320, 320))[0].all()
    assert Area((rectangle(0, 0, 320, 47),)).cells((320, 320)).sum() == 10
    triangle = ((0.0, 0.0), (320.0, 0.0), (0.0, 320.0))
    assert Area((triangle,)).cells((320, 320)).sum() == 45, "of those on the diagonal a little less than half"


def test_an_area_smaller_than_half_a_cell_is_called_that() -> None:
    with pytest.raises(
        OptionError, match=r"320x320 lies in it but less than half of any cell of 32 px; make it larger"
    ):
        Area((rectangle(17, 17, 47, 47),)).cells((320, 320))


def test_regions_add_up_and_what_is_ignored_is_taken_off() -> None:
    left, right = rectangle(0, 0, 256, 512), rectangle(128, 0, 512, 512)
    cells = Area((left, right), (rectangle(0, 0, 512, 128),)).cells((512, 512))
    assert not cells[:4].any()
    assert cells[4:].all(), "where two overlap too"


def test_fractions_fit_every_size() -> None:
    area = Area((rectangle(0.5, 0, 1, 1),), (), "fraction")
    for height, width in ((320, 640), (1080, 1920)):
        cells = area.cells((height, width))
        assert not cells[:, : width // 64].any()
        assert cells[: height // 32, width // 64 + 1 : width // 32].all()


def test_pixels_of_another_frame() -> None:
    with pytest.raises(OptionError, match="nothing of a frame of 640x480 lies in it; expected its pixels"):
        Area((rectangle(1000, 700, 1900, 1000),)).cells((480, 640))


def test_a_scanner_looks_only_there(tiny_model: Path) -> None:
    image = np.full((448, 896, 3), 255, np.uint8)
    image[64:128, 64:128] = image[256:320, 704:768] = 0
    with Scanner(tiny_model, threshold=0.004) as scanner:
        everywhere = scanner(image)
    assert len(everywhere.regions) == 2
    with Scanner(tiny_model, threshold=0.004, area=Area((rectangle(448, 0, 896, 448),))) as scanner:
        (region,) = scanner(image).regions
        assert region.bbox == (704, 256, 768, 320)
        assert scanner.plan.area is not None
    with Scanner(tiny_model, threshold=0.004, area=Area(ignore=(rectangle(448, 0, 896, 448),))) as scanner:
        (region,) = scanner(image).regions
        assert region.bbox == (64, 64, 128, 128)
    with Scanner(tiny_model, threshold=0.004, area=Area((rectangle(0, 320, 64, 448),))) as scanner:
        result = scanner(image)
    assert not result.cracked, "a crack beside the area marks nothing in it"
    assert result.max_score < everywhere.max_score
