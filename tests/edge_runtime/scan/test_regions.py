from __future__ import annotations

import time

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.models.card import Calibration, OperatingPoint
from crackedge.edge_runtime.scan.regions import Carried, Region, find_regions, highest_score
from crackedge.edge_runtime.scan.scoremap import ScoreMap, score_map

Cells = set[tuple[int, int]]


def map_of(cell_scores: npt.ArrayLike, window_scores: npt.ArrayLike | None = None, step: int = 1) -> ScoreMap:
    """A score map with these probabilities; windows all certain where none are given."""
    cells = np.asarray(cell_scores, np.float32)
    rows, cols = (lattice.window_starts(n, step) for n in cells.shape)
    given_windows = np.ones((len(rows), len(cols))) if window_scores is None else window_scores
    windows = np.asarray(given_windows, np.float32)
    starts = (np.asarray(cols * lattice.CELL, np.intp), np.asarray(rows * lattice.CELL, np.intp))
    return ScoreMap(cells, cells, windows, windows, *starts)


@st.composite
def score_maps(draw: st.DrawFn) -> ScoreMap:
    rows, cols, step = draw(st.integers(7, 18)), draw(st.integers(7, 18)), draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cells = rng.random((rows, cols)) ** draw(st.sampled_from([0.3, 1, 3]))
    ny, nx = (len(lattice.window_starts(n, step)) for n in (rows, cols))
    return map_of(cells, rng.random((ny, nx)) ** draw(st.sampled_from([1, 10])), step)


points = st.builds(OperatingPoint, st.floats(0, 1), st.floats(0, 1))


def rule(scores: ScoreMap, point: OperatingPoint, frame_hw: tuple[int, int]) -> Cells:
    """The marked cells, window by window as the rule is worded."""
    marked: Cells = set()
    rows, cols = -(-frame_hw[0] // 32), -(-frame_hw[1] // 32)
    for i, y in enumerate(scores.ys // 32):
        for j, x in enumerate(scores.xs // 32):
            if scores.window_scores[i, j] < np.float32(point.window_threshold):
                continue
            window = [(r, c) for r in range(y, min(y + 7, rows)) for c in range(x, min(x + 7, cols))]
            marked |= {cell for cell in window if scores.cell_scores[cell] >= np.float32(point.cell_threshold)}
            marked.add(max(window, key=lambda cell: scores.cell_scores[cell]))
    return {(int(r), int(c)) for r, c in marked}


@given(score_maps(), points)
def test_cells_are_marked_by_the_rule(scores: ScoreMap, point: OperatingPoint) -> None:
    frame_hw = scores.cell_scores.shape[0] * 32, scores.cell_scores.shape[1] * 32
    regions = find_regions(scores, point, frame_hw=frame_hw)
    found = [cell for region in regions for cell in region.cells]
    assert len(found) == len(set(found))
    assert set(found) == rule(scores, point, frame_hw)
    assert bool(regions) == bool((scores.window_scores >= np.float32(point.window_threshold)).any())


@given(score_maps(), points)
def test_regions_are_connected_and_apart(scores: ScoreMap, point: OperatingPoint) -> None:
    regions = find_regions(scores, point, frame_hw=(10_000, 10_000))
    for region in regions:
        assert grown(region.cells[0], set(region.cells)) == set(region.cells)
    owner = {cell: index for index, region in enumerate(regions) for cell in region.cells}
    for (row, col), index in owner.items():
        for neighbour in [(row + r, col + c) for r in (-1, 0, 1) for c in (-1, 0, 1)]:
            assert owner.get(neighbour, index) == index


def grown(start: tuple[int, int], within: Cells, *, corners: bool = True) -> Cells:
    """All that is connected to ``start``."""
    steps = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if corners or r == 0 or c == 0]
    reached, edge = {start}, [start]
    while edge:
        row, col = edge.pop()
        new = {(row + r, col + c) for r, c in steps} & within - reached
        reached |= new
        edge += new
    return reached


@given(score_maps(), points)
def test_a_region_has_the_highest_score_of_the_cracked_windows_over_it(scores: ScoreMap, point: OperatingPoint) -> None:
    regions = find_regions(scores, point, frame_hw=(10_000, 10_000))
    for region in regions:
        best = max(
            float(scores.window_scores[i, j])
            for i, y in enumerate(scores.ys // 32)
            for j, x in enumerate(scores.xs // 32)
            if scores.window_scores[i, j] >= np.float32(point.window_threshold)
            and any(y <= row < y + 7 and x <= col < x + 7 for row, col in region.cells)
        )
        assert region.score == best
    assert [r.score for r in regions] == sorted((r.score for r in regions), reverse=True)
    if regions:
        assert regions[0].score == float(scores.window_scores.max())


@given(score_maps(), points)
def test_an_outline_is_one_ring_round_all_cells(scores: ScoreMap, point: OperatingPoint) -> None:
    rows, cols = scores.cell_scores.shape
    for region in find_regions(scores, point, frame_hw=(rows * 32, cols * 32)):
        everywhere = {(row, col) for row in range(-1, rows + 1) for col in range(-1, cols + 1)}
        outside = grown((-1, -1), everywhere - set(region.cells), corners=False)
        filled = everywhere - outside  # the cells and the holes that they enclose
        assert enclosed(region, cols) == filled
        ring = np.array(region.polygon)
        sides = np.roll(ring, -1, axis=0) - ring
        assert ((sides == 0).sum(axis=1) == 1).all()  # along one axis at a time
        assert (sides[:, 0].astype(bool) ^ np.roll(sides[:, 0], 1).astype(bool)).all()  # and with a turn each time
        area = (ring[:, 0] * np.roll(ring[:, 1], -1) - np.roll(ring[:, 0], -1) * ring[:, 1]).sum() / 2
        assert area == len(filled) * 32 * 32  # positive: clockwise on the screen
        assert region.bbox == (*ring.min(axis=0), *ring.max(axis=0))


def enclosed(region: Region, cols: int) -> Cells:
    """Cells whose centre the outline encloses: an odd number of its upright sides lies to the left."""
    ring = np.array(region.polygon)
    result: Cells = set()
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if x0 == x1:
            for row in range(min(y0, y1) // 32, max(y0, y1) // 32):
                result ^= {(row, col) for col in range(x0 // 32, cols)}
    return result


def test_cells_that_touch_by_a_corner_are_one_ring() -> None:
    cells = np.zeros((7, 7))
    cells[1, 1] = cells[2, 2] = cells[3, 1] = 1
    (region,) = find_regions(map_of(cells), OperatingPoint(), frame_hw=(224, 224))
    assert region.cells == ((1, 1), (2, 2), (3, 1))
    assert region.bbox == (32, 32, 96, 128)
    assert region.polygon == (
        (32, 32),
        (64, 32),
        (64, 64),
        (96, 64),
        (96, 96),
        (64, 96),
        (64, 128),
        (32, 128),
        (32, 96),
        (64, 96),
        (64, 64),
        (32, 64),
    )


@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 2**32 - 1))
def test_everything_is_clipped_to_the_frame(height: int, width: int, seed: int) -> None:
    padded_height, padded_width = lattice.padded_hw(height, width)
    rng = np.random.default_rng(seed)
    scores = map_of(rng.random((padded_height // 32, padded_width // 32)))
    regions = find_regions(scores, OperatingPoint(0.5, 0.7), frame_hw=(height, width))
    assert regions
    for region in regions:
        x0, y0, x1, y1 = region.bbox
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        for row, col in region.cells:
            assert 0 <= row * 32 < height
            assert 0 <= col * 32 < width
        rows, cols = zip(*region.cells, strict=True)
        assert region.bbox == (
            min(cols) * 32,
            min(rows) * 32,
            min(max(cols) * 32 + 32, width),
            min(max(rows) * 32 + 32, height),
        )
        assert all(0 <= x <= width and 0 <= y <= height for x, y in region.polygon)


def test_a_window_whose_best_cell_is_beyond_the_frame_marks_the_best_one_inside() -> None:
    cells = np.zeros((7, 7))
    cells[5, 5], cells[1, 2] = 1, 0.1
    (region,) = find_regions(map_of(cells), OperatingPoint(), frame_hw=(100, 120))
    assert region.cells == ((1, 2),)
    assert region.bbox == (64, 32, 96, 64)


def test_no_cracked_window_is_no_region_whatever_its_cells_say() -> None:
    scores = map_of(np.ones((9, 9)), np.full((3, 3), 0.49))
    assert find_regions(scores, OperatingPoint(), frame_hw=(288, 288)) == []


def test_a_score_at_the_threshold_counts() -> None:
    scores = map_of(np.full((7, 7), 0.3), [[0.7]])
    (region,) = find_regions(scores, OperatingPoint(0.7, 0.3), frame_hw=(224, 224))
    assert len(region.cells) == 49
    assert region.score == pytest.approx(0.7)


@given(score_maps(), points, st.integers(0, 2**32 - 1))
def test_cells_that_are_not_allowed_are_taken_off_and_nothing_else(
    scores: ScoreMap, point: OperatingPoint, seed: int
) -> None:
    frame_hw = scores.cell_scores.shape[0] * 32, scores.cell_scores.shape[1] * 32
    allowed = np.random.default_rng(seed).random(scores.cell_scores.shape) < 0.5
    found = {cell for r in find_regions(scores, point, frame_hw=frame_hw, allowed=allowed) for cell in r.cells}
    assert found == {cell for cell in rule(scores, point, frame_hw) if allowed[cell]}
    windows = [
        float(scores.window_scores[i, j])
        for i, y in enumerate(scores.ys // 32)
        for j, x in enumerate(scores.xs // 32)
        if allowed[y : y + 7, x : x + 7].any()
    ]
    assert highest_score(scores, allowed) == max(windows, default=0.0)
    assert highest_score(scores) == scores.max_score


def test_regions_are_plain_python_numbers() -> None:
    (region,) = find_regions(map_of(np.ones((7, 7))), OperatingPoint(), frame_hw=(224, 224))
    numbers = [*region.bbox, *sum(region.polygon, ()), *sum(region.cells, ())]
    assert all(type(number) is int for number in numbers)
    assert type(region.score) is float


def test_regions_of_a_full_hd_frame_take_a_millisecond_or_so() -> None:
    rng = np.random.default_rng(3)
    noise = cv2.GaussianBlur(rng.normal(0, 8, (34, 60)), (5, 5), 1.2)
    logits = np.asarray(noise, np.float32)
    means = lattice.window_means(logits)
    scores = score_map(logits, means, row_starts=np.arange(28), col_starts=np.arange(54), calibration=Calibration())
    took = []
    for _ in range(20):
        started = time.perf_counter()
        regions = find_regions(scores, OperatingPoint(), frame_hw=(1080, 1920))
        took.append(time.perf_counter() - started)
    assert len(regions) > 5
    assert min(took) < 5e-3  # some 0.5 ms; the margin is for busy machines


def test_carried_cells_have_thresholds_of_their_own() -> None:
    scores = map_of(np.full((9, 20), 0.4), np.full((3, 14), 0.4))
    carried = np.zeros((9, 20), bool)
    carried[:, 12:] = True
    point, low = OperatingPoint(0.5, 0.5), OperatingPoint(0.3, 0.3)
    assert find_regions(scores, point, frame_hw=(288, 640)) == []
    (region,) = find_regions(scores, point, frame_hw=(288, 640), carried=Carried(carried, low))
    cells = set(region.cells)
    assert {(row, col) for row in range(9) for col in range(12, 20)} == cells, "fresh cells beside them stay unmarked"
    nothing = Carried(np.zeros((9, 20), bool), low)
    assert find_regions(scores, point, frame_hw=(288, 640), carried=nothing) == []
    everything = Carried(np.ones((9, 20), bool), low)
    assert find_regions(scores, point, frame_hw=(288, 640), carried=everything) == find_regions(
        scores, low, frame_hw=(288, 640)
    )
