"""The partial engine with real networks: the tiny one of known answers, and the shipped one on a small scene."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.frame import Frame, Image
from crackedge.edge_runtime.records import frame_record
from crackedge.edge_runtime.scan.carry import UNKNOWN_LOGIT
from crackedge.edge_runtime.scan.coverage import Coverage
from crackedge.edge_runtime.scan.partial_engine import KEY_FRAMES
from crackedge.edge_runtime.scan.scanner import FrameResult, Scanner
from crackedge.edge_runtime.scenes.scene import parse_scene
from crackedge.edge_runtime.scenes.surfaces import render_surface

HEIGHT, WIDTH = 320, 480
SCHEMA = json.loads((Path(__file__).parents[3] / "docs/results.schema.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wall() -> Image:
    """Bright, textured, with a dark patch: a crack to the tiny network."""
    surface = cv2.GaussianBlur(render_surface("concrete", (700, 1200), np.random.default_rng(8)), (0, 0), 1.0)
    image = np.clip(surface.astype(np.int16) + 60, 0, 255).astype(np.uint8)
    image[200:456, 300:556] //= 8
    return image


def view(wall: Image, x: int, y: int = 150) -> Image:
    return np.ascontiguousarray(wall[y : y + HEIGHT, x : x + WIDTH])


def turned(image: Image) -> Image:
    """By seven degrees about the middle."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 7, 1)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT), np.uint8)


def scan(scanner: Scanner, images: list[Image], *, fps: float = 25.0, start: int = 0) -> list[FrameResult]:
    return [scanner(image, time_s=number / fps) for number, image in enumerate(images, start)]


def coverage(result: FrameResult) -> Coverage:
    assert result.coverage is not None
    return result.coverage


def test_a_static_scene_is_scanned_once_and_equal_to_the_full_scan(tiny_model: Path, wall: Image) -> None:
    images = [view(wall, 200)] * 20
    with Scanner(tiny_model) as plain, Scanner(tiny_model, reuse=True) as reusing:
        full, results = plain(images[0]), scan(reusing, images)
    assert full.cracked
    assert results[0].coverage is None
    for result in results:
        assert (result.score_map.cell_logits == full.score_map.cell_logits).all()
        assert result.regions == full.regions
    assert all(coverage(result).network == 0 for result in results[1:])
    assert coverage(results[-1]).stale_s == pytest.approx(19 / 25)


def test_a_static_scene_is_refreshed_in_time(tiny_model: Path, wall: Image) -> None:
    with Scanner(tiny_model, reuse=True, refresh_s=0.5) as reusing:
        results = scan(reusing, [view(wall, 200)] * 40)
    stale_s = [0.0 if result.coverage is None else result.coverage.stale_s for result in results]
    assert max(stale_s) <= 0.5
    assert sum(result.coverage is None for result in results) == 4


def test_a_pan_is_carried_and_loses_nothing(tiny_model: Path, wall: Image) -> None:
    images = [
        np.ascontiguousarray(wall[60 + number : 572 + number, 7 * number : 800 + 7 * number]) for number in range(40)
    ]
    with Scanner(tiny_model) as plain, Scanner(tiny_model, reuse=True) as reusing:
        pairs = list(zip(scan(plain, images), scan(reusing, images), strict=True))
    network = [1.0 if carried.coverage is None else carried.coverage.network for _, carried in pairs]
    assert np.mean(network) < 0.6  # small frames pay much for halos
    assert network.count(1.0) <= 2 + len(images) / KEY_FRAMES
    for full, carried in pairs:
        there = {cell for region in full.regions for cell in region.cells}
        here = {cell for region in carried.regions for cell in region.cells}
        near = {(row + down, col + right) for row, col in here for down in (-1, 0, 1) for right in (-1, 0, 1)}
        assert there <= near
        if carried.coverage is not None:
            assert carried.coverage.scanned + carried.coverage.carried == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("cut", lambda image: render_surface("brick", image.shape[:2], np.random.default_rng(1))),
        ("blur", lambda image: cv2.blur(image, (1, 15))),
        ("rotation", turned),
        ("size", lambda image: np.ascontiguousarray(image[:-33, :-70])),
    ],
)
def test_reuse_is_off_where_the_picture_cannot_be_followed(
    tiny_model: Path, wall: Image, reason: str, change: Callable[[Image], Image]
) -> None:
    other = change(wall)
    with Scanner(tiny_model) as plain, Scanner(tiny_model, reuse=True) as reusing:
        before, result = scan(reusing, [wall, other])
        assert reusing._partial is not None
        assert reusing._partial.coverage.rejected == reason
        (after,) = scan(reusing, [other], start=2)
        full = plain(other)
    assert before.coverage is None
    assert result.coverage is None  # scanned as a whole, though it is no key
    assert result.regions == full.regions
    assert (result.score_map.cell_logits == full.score_map.cell_logits).all()
    assert coverage(after).network == 0  # from here on it is followed again


def test_something_new_in_a_still_picture_is_scanned(tiny_model: Path, wall: Image) -> None:
    image = view(wall, 700)
    changed = image.copy()
    changed[96:160, 96:160] = 0
    with Scanner(tiny_model, reuse=True) as reusing:
        _, same, result = scan(reusing, [image, image, changed])
    assert coverage(same).scanned == 0
    assert 0 < coverage(result).scanned < 1
    assert result.score_map.cell_logits[3, 3] == pytest.approx(6.0, abs=0.1)


def test_going_back_in_time_is_another_source(tiny_model: Path, wall: Image) -> None:
    with Scanner(tiny_model, reuse=True) as reusing:
        assert scan(reusing, [view(wall, 200)] * 2, start=5)[1].coverage is not None
        assert reusing(view(wall, 200), time_s=0.0).coverage is None
        reusing.forget()
        assert reusing(view(wall, 200), time_s=1.0).coverage is None


def test_what_a_source_gives_does_not_depend_on_the_one_before(wall: Image) -> None:
    def flight(scanner: Scanner) -> list[FrameResult]:
        return [scanner(frame.image, time_s=frame.time_s) for frame in frames_of("scene:?seed=5&size=480x320")]

    with Scanner("nano", reuse=True) as alone, Scanner("nano", reuse=True) as after:
        for frame in frames_of("scene:brick?seed=9&size=480x320"):
            after(frame.image, time_s=frame.time_s)
        after.forget()
        for one, other in zip(flight(alone), flight(after), strict=True):
            assert one.regions == other.regions
            assert one.coverage == other.coverage


@pytest.mark.parametrize("size", [(1, 1), (30, 700), (224, 224)])
def test_odd_sizes(tiny_model: Path, size: tuple[int, int]) -> None:
    with Scanner(tiny_model, reuse=True, max_latency_ms=1e4) as reusing:
        for level in (0, 0, 255):
            result = reusing(np.full((*size, 3), level, np.uint8))
            assert result.cracked == (level == 0)


def frames_of(flight: str) -> Iterator[Frame]:
    return itertools.islice(parse_scene(flight), 24)


def test_the_shipped_network_reuses_on_a_scene_and_gives_the_same_records_twice() -> None:
    def records(threads: int) -> tuple[list[dict[str, Any]], float]:
        with Scanner("nano", reuse=True, threads=threads) as scanner:
            found = [(frame, scanner(frame.image, time_s=frame.time_s)) for frame in frames_of("scene:?size=640x480")]
        lines = [frame_record(frame, result, scores=True) for frame, result in found]
        for line in lines:
            jsonschema.validate(line, SCHEMA)
            del line["timing_ms"]
        shares = [1.0 if result.coverage is None else result.coverage.network for _, result in found]
        return lines, float(np.mean(shares))

    first, share = records(1)
    assert share < 0.5
    assert any("coverage" in line for line in first)
    assert json.dumps(first) == json.dumps(records(2)[0])


def test_a_budget_that_nothing_fits_scans_bands_reports_it_and_sees_every_cell_in_time(wall: Image) -> None:
    images = [view(wall, 100 + 5 * number) for number in range(60)]
    with Scanner("nano", max_latency_ms=1e-3, refresh_s=1.0, threads=1) as scanner:
        results = scan(scanner, images)
    last = coverage(results[-1])
    assert last.gave_up == ("marking", "bands", "scale", "latency")
    assert last.scale == 0.5
    assert 0 < last.scanned < 1
    assert max(0.0 if result.coverage is None else result.coverage.stale_s for result in results) <= 1.0
    line = frame_record(Frame(images[-1], 59, 2.36), results[-1])
    jsonschema.validate(line, SCHEMA)
    assert line["coverage"]["gave_up"] == ["marking", "bands", "scale", "latency"]


def test_a_budget_sees_every_cell_in_time_though_no_picture_can_be_followed(wall: Image) -> None:
    images = [np.rot90(view(wall, 200), 2 * (number % 2)) for number in range(30)]
    with Scanner("nano", max_latency_ms=1e-3, refresh_s=1.0, threads=1) as scanner:
        results = scan(scanner, images, fps=10.0)
    assert {coverage(result).rejected for result in results[1:]} == {"cut"}
    stale_s = [coverage(result).stale_s for result in results[1:]]
    assert 0 < max(stale_s) <= 1.0
    seen = [result.score_map.cell_logits.max(1) > UNKNOWN_LOGIT for result in results[-10:]]
    assert np.any(seen, axis=0).all(), "not the top band alone"


@pytest.mark.parametrize("scale", [0.5, 1.3, 2.0])
@pytest.mark.parametrize("way", [{"reuse": True}, {"max_latency_ms": 1e-3, "refresh_s": 0.4}])
def test_what_is_carried_at_another_scale_lies_on_the_source(
    tiny_model: Path, wall: Image, scale: float, way: dict[str, Any]
) -> None:
    images = [
        np.ascontiguousarray(wall[60 + number : 572 + number, 7 * number : 800 + 7 * number]) for number in range(12)
    ]
    with Scanner(tiny_model, scale=scale) as plain, Scanner(tiny_model, scale=scale, **way) as partial:
        pairs = list(zip(scan(plain, images), scan(partial, images), strict=True))
    assert any(other.coverage is not None and other.coverage.carried > 0 for _, other in pairs)
    reach = 2 if scale < 1 else 1  # cells of the source in half a scanned cell, and what is cut by its edge
    for full, other in pairs[1:] if "reuse" in way else []:
        there = {cell for region in full.regions for cell in region.cells}
        steps = range(-reach, reach + 1)
        near = {
            (r + down, c + right) for one in other.regions for r, c in one.cells for down in steps for right in steps
        }
        assert there <= near


def test_a_generous_budget_changes_nothing(tiny_model: Path, wall: Image) -> None:
    image = view(wall, 200)
    with Scanner(tiny_model) as plain, Scanner(tiny_model, max_latency_ms=1e6, target_fps=1e-3) as budgeted:
        full, result = plain(image), scan(budgeted, [image] * 3)[-1]
    assert result.coverage is None
    assert result.regions == full.regions
    assert list(result.timing_ms) == ["prepare", "invoke", "motion", "regions"]
    line, other = (frame_record(Frame(image, 0, 0.0), one) for one in (full, result))
    del line["timing_ms"], other["timing_ms"]
    assert line == other


def test_what_cannot_be_scanned_in_parts_is_refused(tiny_model: Path) -> None:
    with pytest.raises(OptionError, match="reuse and budgets need a logit map"):
        Scanner(tiny_model, engine="tiles", reuse=True)
    with pytest.raises(OptionError, match="one scale"):
        Scanner(tiny_model, scale=(1.0, 2.0), target_fps=5.0)
    with pytest.raises(OptionError, match="refresh_s 1: expected with reuse"):
        Scanner(tiny_model, refresh_s=1.0)
    with pytest.raises(OptionError, match="max_latency_ms 0"):
        Scanner(tiny_model, max_latency_ms=0.0)


def test_a_slow_camera_is_refreshed_before_it_is_too_late(tiny_model: Path, wall: Image) -> None:
    with Scanner(tiny_model, reuse=True, refresh_s=0.5) as reusing:
        results = scan(reusing, [view(wall, 200)] * 4, fps=1 / 0.3)
    assert [result.coverage for result in results] == [None] * 4


def test_a_camera_that_is_slow_now_and_then_is_refreshed_before_it_is_too_late(tiny_model: Path, wall: Image) -> None:
    image, times_s = view(wall, 200), list(itertools.accumulate([0.0, *[0.28, 0.06, 0.06, 0.06, 0.06] * 4]))
    with Scanner(tiny_model, reuse=True, refresh_s=0.5) as reusing:
        scanned_s = [time_s for time_s in times_s if reusing(image, time_s=time_s).coverage is None]
    assert len(scanned_s) < len(times_s)
    assert max(later - earlier for earlier, later in itertools.pairwise(scanned_s)) <= 0.5


def test_what_is_carried_goes_by_a_threshold_that_is_set_meanwhile(tiny_model: Path, wall: Image) -> None:
    images = [
        np.ascontiguousarray(wall[60 + number : 572 + number, 7 * number : 800 + 7 * number]) for number in range(12)
    ]
    with Scanner(tiny_model, reuse=True) as reusing:
        assert all(result.cracked for result in scan(reusing, images[:2]))
        reusing.set_threshold(0.99999)
        results = scan(reusing, images[2:], start=2)
    assert all(coverage(result).carried > 0 for result in results[:3])
    assert not any(result.cracked for result in results)


def test_after_losing_too_much_frames_are_scanned_as_a_whole_for_a_while(tiny_model: Path, wall: Image) -> None:
    with Scanner(tiny_model, reuse=True) as reusing:
        scan(reusing, [view(wall, 200)])
        assert reusing._partial is not None
        reusing._partial._pause = 3
        *paused, after = scan(reusing, [view(wall, 200)] * 3, start=1)
    assert [result.coverage for result in paused] == [None, None]
    assert coverage(after).network == 0


def test_the_first_scan_of_a_size_is_no_measure_of_what_others_cost(tiny_model: Path, wall: Image) -> None:
    with Scanner(tiny_model, max_latency_ms=1e4) as scanner:
        rates = []
        for image in (view(wall, 200), view(wall, 200), view(wall, 200)[:160], view(wall, 200)):
            scanner(np.ascontiguousarray(image))
            assert scanner._partial is not None
            rates.append(len(scanner._partial._costs.rates_ms))
    assert rates == [0, 1, 1, 2]
