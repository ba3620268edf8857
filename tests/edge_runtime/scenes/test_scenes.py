from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.frame import Frame
from crackedge.edge_runtime.scenes.scene import MAX_CONTRAST, VISIBLE_PX, Scene, SceneFlight, make_scene, parse_scene

SIZE = (500, 1500)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(4, size_hw=SIZE, cracks=4)


@pytest.fixture(scope="module")
def sound_scene() -> Scene:
    """The same structure before it cracked."""
    return make_scene(4, size_hw=SIZE, cracks=0)


def fly(scene: Scene, *, noise: float = 0.0, shutter: float = 0.0) -> SceneFlight:
    return SceneFlight(scene, width=400, height=300, frame_count=60, noise=noise, shutter=shutter)


def loss(cracked: npt.NDArray[np.uint8], sound: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """(H, W) share of light that the cracks took away."""
    return np.asarray(1 - cracked.mean(2) / np.maximum(sound.mean(2), 1))


def test_cracks_are_as_many_as_asked_and_known(scene: Scene) -> None:
    assert [crack.number for crack in scene.cracks] == [0, 1, 2, 3]
    for crack in scene.cracks:
        assert crack.length_px > 60
        assert 1 <= crack.width_px <= 5.4
        for line in crack.shape.lines:
            assert (line.path >= 0).all()
            assert (line.path < SIZE[::-1]).all()
            open_widths = line.widths[line.widths > 0]
            assert open_widths.min() >= 1.1
            assert open_widths.max() <= 5.4


def test_two_cracks_never_meet(scene: Scene) -> None:
    points = [np.concatenate([line.path for line in crack.shape.lines])[::4] for crack in scene.cracks]
    for one in range(4):
        for other in range(one):
            apart = np.hypot(*(points[one][:, None] - points[other][None]).transpose(2, 0, 1))
            assert apart.min() > 70


def test_only_cracks_differ_and_by_no_more_than_their_contrast(scene: Scene, sound_scene: Scene) -> None:
    lost = loss(scene.image, sound_scene.image)
    bright = sound_scene.image.mean(2) > 50  # where a grey level is no large share
    assert lost[bright].max() <= MAX_CONTRAST + 0.02
    near = np.zeros(SIZE, np.uint8)
    for crack in scene.cracks:
        assert crack.contrast <= MAX_CONTRAST
        for line in crack.shape.lines:
            cv2.polylines(near, [np.rint(line.path).astype(np.int32)], False, 255, 13)
    assert np.array_equal(scene.image[near == 0], sound_scene.image[near == 0])
    for crack in scene.cracks:
        path, widths = crack.shape.trunk.path, crack.shape.trunk.widths
        wide = np.rint(path[widths > 2.2]).astype(int)
        if len(wide) > 20:
            assert np.median(lost[wide[:, 1], wide[:, 0]]) == pytest.approx(crack.contrast, rel=0.35)


def test_everything_follows_from_the_seed(scene: Scene) -> None:
    again = make_scene(4, size_hw=SIZE, cracks=4)
    assert np.array_equal(again.image, scene.image)
    assert np.array_equal(again.cracks[2].shape.trunk.path, scene.cracks[2].shape.trunk.path)
    one, other = fly(scene, noise=3), fly(again, noise=3)
    assert np.array_equal(one.frame(7).image, other.frame(7).image)
    assert np.array_equal(one.truth(7).mask, other.truth(7).mask)
    assert not np.array_equal(make_scene(5, size_hw=SIZE, cracks=4).image, scene.image)


def test_frames_come_in_order_lazily_and_at_will(scene: Scene) -> None:
    flight = fly(scene, noise=2)
    frames = iter(flight)
    first, second = next(frames), next(frames)
    assert isinstance(first, Frame)
    assert (first.index, second.index) == (0, 1)
    assert (first.time_s, second.time_s) == (0.0, 1 / 25)
    assert first.image.shape == (300, 400, 3)
    assert first.image.dtype == np.uint8
    assert first.image.flags.c_contiguous
    assert np.array_equal(flight.frame(1).image, second.image)
    assert len(flight) == flight.frame_count == 60
    assert sum(1 for _ in dataclasses.replace(flight, frame_count=3)) == 3


@pytest.mark.parametrize("index", [0, 20, 45])
def test_the_truth_lies_where_the_picture_lost_light(scene: Scene, sound_scene: Scene, index: int) -> None:
    flight, sound = fly(scene), fly(sound_scene)
    assert flight.pose(index) == sound.pose(index)
    truth = flight.truth(index)
    lost = loss(flight.frame(index).image, sound.frame(index).image)
    assert truth.lines
    on, off = lost[truth.mask > 0], lost[cv2.dilate(truth.mask, np.ones((9, 9), np.uint8)) == 0]
    assert np.mean(on > 0.03) > 0.9
    assert np.abs(off).mean() < 0.01
    assert lost.max() < MAX_CONTRAST + 0.05
    # And found again without the mask: the darkest of the difference is the mask.
    found = lost > 0.08
    assert np.mean(truth.mask[found] > 0) > 0.8


@pytest.mark.parametrize("index", [0, 40])
def test_open_centre_lines_lie_on_the_mask_and_inside_the_frame(scene: Scene, index: int) -> None:
    truth = fly(scene).truth(index)
    assert set(np.unique(truth.mask)) <= {0, 255}
    for line in truth.lines:
        assert len(line.path) == len(line.widths)
        columns, rows = np.rint(line.path).astype(int).T
        assert ((columns >= 0) & (columns < 400) & (rows >= 0) & (rows < 300)).all()
        is_open = line.widths > 0
        assert (truth.mask[rows[is_open], columns[is_open]] == 255).all()
        assert line.widths[is_open].min() >= 1
        assert line.widths[is_open].max() <= 6


def test_widths_agree_with_the_mask(scene: Scene) -> None:
    flight = fly(scene)
    compared = 0
    for index in (0, 20, 40, 59):
        truth = flight.truth(index)
        inside = cv2.distanceTransform(truth.mask, cv2.DIST_L2, 5)
        deepest = cv2.dilate(inside, np.ones((5, 5), np.uint8))
        for line in truth.lines:
            columns, rows = np.rint(line.path).astype(int).T
            wide = line.widths > 2.5
            if wide.sum() > 30:
                measured = 2 * deepest[rows[wide], columns[wide]] - 1  # the transform counts from pixel centres
                assert np.median(measured - line.widths[wide]) == pytest.approx(0, abs=1.0)
                compared += 1
    assert compared


def test_visible_cracks_are_those_with_lines_in_the_frame(scene: Scene) -> None:
    flight = fly(scene)
    seen = set()
    for index in range(0, 60, 10):
        truth = flight.truth(index)
        seen |= set(truth.visible)
        assert set(truth.visible) <= {line.crack for line in truth.lines}
        for number in truth.visible:
            length = sum(np.hypot(*np.diff(line.path, axis=0).T).sum() for line in truth.lines if line.crack == number)
            assert length >= VISIBLE_PX
    assert len(seen) >= 2


def test_frames_move_by_the_known_path(scene: Scene) -> None:
    flight = fly(scene)
    for index in (0, 30):
        here, there = (flight.pose(i).matrix((300, 400)) for i in (index, index + 6))
        back = cv2.invertAffineTransform(here)
        step = there @ np.vstack([back, [0, 0, 1]])
        assert np.hypot(*(step @ (199.5, 149.5, 1) - (199.5, 149.5))) > 10
        one, other = flight.frame(index).image[..., 1], flight.frame(index + 6).image[..., 1]
        carried = cv2.warpAffine(one, step, (400, 300))
        inner = np.s_[60:240, 80:320]
        lined_up = np.corrcoef(
            cv2.Laplacian(carried, cv2.CV_32F, ksize=5)[inner].ravel(),
            cv2.Laplacian(other, cv2.CV_32F, ksize=5)[inner].ravel(),
        )[0, 1]
        as_is = np.corrcoef(
            cv2.Laplacian(one, cv2.CV_32F, ksize=5)[inner].ravel(),
            cv2.Laplacian(other, cv2.CV_32F, ksize=5)[inner].ravel(),
        )[0, 1]
        assert lined_up > 0.6
        assert as_is < 0.3


def test_the_camera_never_leaves_the_scene(scene: Scene) -> None:
    flight = dataclasses.replace(fly(scene), frame_count=2000)
    corners = np.array([(0, 0, 1), (399, 0, 1), (0, 299, 1), (399, 299, 1)]).T
    for index in range(0, 2000, 7):
        back = cv2.invertAffineTransform(flight.pose(index).matrix((300, 400)))
        x, y = back @ corners
        assert x.min() >= 0
        assert y.min() >= 0
        assert x.max() <= SIZE[1] - 1
        assert y.max() <= SIZE[0] - 1


def test_millimetres_follow_the_height(scene: Scene) -> None:
    flight = fly(scene)
    for index in (0, 50):
        truth = flight.truth(index)
        assert truth.mm_per_px * truth.pose.zoom == pytest.approx(scene.mm_per_px)


def test_a_far_camera_sees_no_aliasing() -> None:
    stripes = np.zeros((1200, 2400, 3), np.uint8)
    stripes[:, ::2] = 255  # finer than any pixel from far above: grey, not bands
    flight = SceneFlight(Scene("stripes", 0, stripes, (), 0.2), width=320, height=240, zoom=0.4, noise=0, shutter=0)
    assert flight.frame(0).image[100:140, 140:180].std() < 6


def test_motion_blur_smears_along_the_way(scene: Scene) -> None:
    sharp, smeared = fly(scene), dataclasses.replace(fly(scene), speed_px=20.0, shutter=1.0)
    sharp = dataclasses.replace(smeared, shutter=0.0)

    def edges(flight: SceneFlight, dx: int, dy: int) -> float:
        grey = flight.frame(30).image[..., 1]
        return float(np.abs(cv2.Sobel(grey, cv2.CV_32F, dx, dy)).mean())

    assert edges(smeared, 1, 0) < 0.7 * edges(sharp, 1, 0)
    assert edges(smeared, 0, 1) > edges(smeared, 1, 0) / edges(sharp, 1, 0) * edges(sharp, 0, 1)


def test_exposure_drifts_and_corners_are_darker() -> None:
    even = np.full((600, 1600, 3), 128, np.uint8)
    flight = SceneFlight(Scene("even", 1, even, (), 0.2), width=400, height=300, frame_count=400, noise=0)
    levels = [float(flight.frame(index).image[150, 200, 0]) for index in range(0, 400, 20)]
    assert max(levels) / min(levels) > 1.1
    image = flight.frame(0).image
    assert image[0, 0, 0] < 0.85 * image[150, 200, 0]


def test_noise_is_as_strong_as_asked_and_new_in_every_frame() -> None:
    even = np.full((600, 1600, 3), 128, np.uint8)
    flight = SceneFlight(Scene("even", 1, even, (), 0.2), width=200, height=200, noise=4)
    patch = flight.frame(3).image[90:110, 90:110].astype(float)
    assert patch.std() == pytest.approx(4, rel=0.2)
    other = flight.frame(4).image[90:110, 90:110].astype(float)
    assert abs(np.corrcoef(patch.ravel(), other.ravel())[0, 1]) < 0.3


def test_addresses() -> None:
    flight = parse_scene("scene:brick?seed=3&frames=12&size=320x240&fps=29.97&cracks=2&distractors=1&speed=4&noise=0")
    assert flight.name == "scene-brick-3"
    assert (flight.width, flight.height, flight.frame_count, flight.fps) == (320, 240, 12, 29.97)
    assert (len(flight.scene.cracks), flight.speed_px, flight.noise) == (2, 4.0, 0.0)
    assert flight.frame(11).image.shape == (240, 320, 3)
    plain = parse_scene("scene:?size=64x64&frames=1&cracks=0&distractors=0")
    assert plain.name == "scene-concrete-0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video.mp4", "expected scene:SURFACE"),
        ("scene:ice", "surface 'ice': expected one of concrete"),
        ("scene:?speeed=3", "key 'speeed': expected some of seed, frames, size, fps"),
        ("scene:?seed=x", "seed=x: expected a whole number of at least 0"),
        ("scene:?frames=0", "frames=0: expected a whole number of at least 1"),
        ("scene:?frames=-4", "frames=-4: expected"),
        ("scene:?size=big", "size=big: expected WIDTHxHEIGHT"),
        ("scene:?size=3²0x240", "size=3²0x240: expected WIDTHxHEIGHT"),
        ("scene:?size=20x20", "size=20x20: expected WIDTHxHEIGHT"),
        ("scene:?fps=fast", "fps=fast: expected a number between"),
        ("scene:?fps=0", "fps=0: expected a number between"),
        ("scene:?noise=nan", "noise=nan: expected a number between"),
        ("scene:?seed=", "seed=: expected a whole number"),
    ],
)
def test_wrong_addresses_are_named(text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_scene(text)
    assert message in str(caught.value)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"surface": "ice"}, "surface 'ice'"),
        ({"contrast": (0.1, 0.5)}, "contrast"),
        ({"width_px": (0.2, 3.0)}, "crack width"),
        ({"size_hw": (100, 900)}, "at least 200"),
        ({"cracks": 200, "size_hw": (300, 300), "distractors": 0}, "fit; ask for fewer"),
        ({"cracks": -1}, "none below 0"),
    ],
)
def test_wrong_scenes_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make_scene(0, **options)  # type: ignore[arg-type]


def test_wrong_flights_are_named(scene: Scene) -> None:
    with pytest.raises(OptionError, match="too small for frames of 1280x720"):
        SceneFlight(scene)
    with pytest.raises(OptionError, match="at least one frame"):
        SceneFlight(scene, width=300, height=200, frame_count=0)
    with pytest.raises(OptionError, match="frames 0 to 59"):
        fly(scene).frame(60)
    with pytest.raises(OptionError, match="frames 0 to 59"):
        fly(scene).truth(-1)
