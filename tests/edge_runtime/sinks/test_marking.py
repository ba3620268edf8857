"""What is drawn, where, and nowhere else."""

from __future__ import annotations

import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackedge.edge_runtime.lattice import CELL, padded_hw
from crackedge.edge_runtime.models.card import Calibration, OperatingPoint
from crackedge.edge_runtime.scan.regions import Region, find_regions
from crackedge.edge_runtime.scan.scoremap import score_map
from crackedge.edge_runtime.sinks.marking import count_text, mark, marked

SIZES = [(240, 320), (360, 202), (1080, 1920), (224, 224), (97, 61), (33, 500)]
RED = (255, 45, 85)
Mask = npt.NDArray[np.bool_]


def regions_of(cells: set[tuple[int, int]], frame_hw: tuple[int, int]) -> list[Region]:
    """Regions as the scan makes them, of these cells (taken modulo the lattice) as far as they are in the frame."""
    height, width = padded_hw(*frame_hw)
    logits = np.full((height // CELL, width // CELL), -9.0, np.float32)
    for row, col in cells:
        logits[row % -(-frame_hw[0] // CELL), col % -(-frame_hw[1] // CELL)] = 9.0
    windows = np.lib.stride_tricks.sliding_window_view(logits, (7, 7)).max((2, 3))
    scores = score_map(
        logits,
        windows,
        row_starts=np.arange(windows.shape[0]),
        col_starts=np.arange(windows.shape[1]),
        calibration=Calibration(),
    )
    return find_regions(scores, OperatingPoint(0.5, 0.5), frame_hw=frame_hw)


def grey(hw: tuple[int, int], level: int = 128) -> npt.NDArray[np.uint8]:
    return np.full((*hw, 3), level, np.uint8)


def cells_mask(regions: list[Region], hw: tuple[int, int]) -> Mask:
    inside = np.zeros(hw, bool)
    for region in regions:
        for row, col in region.cells:
            inside[row * CELL : (row + 1) * CELL, col * CELL : (col + 1) * CELL] = True
    return inside


def grown(mask: Mask, by_px: int) -> Mask:
    return np.asarray(cv2.dilate(mask.view(np.uint8), np.ones((2 * by_px + 1,) * 2, np.uint8)), bool)


some_cells = st.sets(st.tuples(st.integers(0, 40), st.integers(0, 60)), min_size=1, max_size=25)


@pytest.mark.parametrize("hw", SIZES)
def test_the_picture_given_stays_as_it_is(hw: tuple[int, int]) -> None:
    image = grey(hw)
    marked = mark(image, regions_of({(0, 0), (1, 1)}, hw))
    assert (image == 128).all()
    assert marked.shape == image.shape
    assert marked.dtype == np.uint8
    assert not np.shares_memory(marked, image)


@given(hw=st.sampled_from(SIZES), cells=some_cells)
@settings(max_examples=40, deadline=None)
def test_cells_are_tinted_and_outlined_to_the_pixel(hw: tuple[int, int], cells: set[tuple[int, int]]) -> None:
    image = grey(hw)
    regions = regions_of(cells, hw)
    marked = mark(image, regions, header="").astype(int)
    inside = cells_mask(regions, hw)
    line_px = max(2, round(min(hw) / 320)) + 3
    outside = np.pad(~inside, 1, constant_values=True)
    edge = grown(outside, 1)[1:-1, 1:-1]  # outside, and the first pixel inside
    reddish = marked[..., 0] - marked[..., 1] > 20
    assert not (reddish & ~grown(inside, line_px)).any(), "no red outside"
    labels = grown((marked.min(2) > 250), 12 + max(hw) // 60)  # white is only in text
    assert reddish[inside & ~labels & ~grown(edge, line_px)].all(), "all cells are tinted"
    for region in regions:
        for x, y in region.polygon:
            corner = marked[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4].reshape(-1, 3)
            covered = labels[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4].any()
            assert covered or (corner == RED).all(1).any(), "every corner is on the line"


@pytest.mark.parametrize("hw", [(240, 320), (480, 854), (1080, 1920), (2160, 3840)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_the_headline_is_legible_on_any_ground(hw: tuple[int, int], level: int) -> None:
    image = grey(hw, level)
    marked = mark(image, [])
    changed = (marked != image).any(2)
    rows, cols = np.nonzero(changed)
    height, width = np.ptp(rows) + 1, np.ptp(cols) + 1
    assert 9 <= height <= 0.08 * hw[0]
    assert width <= 0.5 * hw[1]
    box = marked[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
    assert (box == 255).all(2).any(), "white ink"
    assert (box == 0).all(2).any(), "black around it"


def test_the_headline_is_the_count_or_what_is_asked_for() -> None:
    assert [count_text(n) for n in (0, 1, 2, 17)] == ["no crack", "1 crack", "2 cracks", "17 cracks"]
    hw = (240, 320)
    image = grey(hw)
    assert (mark(image, [], header="") == image).all()
    assert (mark(image, [], header="3 cracks") != mark(image, [])).any()


def test_scores_are_cut_off_not_rounded() -> None:
    hw = (480, 640)
    (region,) = regions_of({(5, 5), (5, 6)}, hw)

    def shown(score: float) -> npt.NDArray[np.uint8]:
        return mark(grey(hw), [Region(region.bbox, region.polygon, score, region.cells)])

    assert (shown(0.9999) == shown(0.991)).all(), "0.99: only certainty is 1.00"
    assert (shown(0.9999) != shown(1.0)).any()


@given(hw=st.sampled_from(SIZES), cells=some_cells)
@settings(max_examples=20, deadline=None)
def test_marking_is_the_same_each_time(hw: tuple[int, int], cells: set[tuple[int, int]]) -> None:
    regions = regions_of(cells, hw)
    assert (mark(grey(hw), regions) == mark(grey(hw), regions)).all()


@pytest.mark.parametrize("hw", [(1, 1), (5, 300), (300, 5)])
def test_tiny_pictures_are_no_trouble(hw: tuple[int, int]) -> None:
    assert mark(grey(hw), regions_of({(0, 0)}, hw)).shape == (*hw, 3)


def test_a_frame_is_marked_once_for_all_who_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def slow_mark(image: Any, regions: Any) -> Any:
        made.append(id(image))
        time.sleep(0.02)
        return mark(image, regions)

    monkeypatch.setattr("crackedge.edge_runtime.sinks.marking.mark", slow_mark)
    images, regions = [grey((240, 320)), grey((240, 320))], regions_of({(1, 1)}, (240, 320))
    with ThreadPoolExecutor(6) as threads:
        pictures = list(threads.map(lambda number: marked(images[number % 2], regions), range(12)))
    assert sorted(made) == sorted(map(id, images))
    assert all(picture is pictures[number % 2] for number, picture in enumerate(pictures))
    assert (pictures[0] == mark(images[0], regions)).all()
    assert not pictures[0].flags.writeable
    assert marked(images[0], []) is not pictures[0], "other regions"


def test_a_marked_frame_is_kept_no_longer_than_the_frame() -> None:
    image = grey((240, 320))
    picture = weakref.ref(marked(image, []))
    assert picture() is not None
    del image
    assert picture() is None
