from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from crackedge.benchmarks.footage import FootageStore, make_footage, parse_size, scene_frames, write_clip
from crackedge.edge_runtime.errors import LiveSourceError, OptionError, SourceError
from crackedge.edge_runtime.sources.opening import open_source


def test_the_frames_are_pictures_and_always_the_same() -> None:
    frames = scene_frames(width=320, height=240, count=2)
    assert [frame.shape for frame in frames] == [(240, 320, 3)] * 2
    assert (frames[0] == scene_frames(width=320, height=240, count=2)[0]).all()
    assert (frames[0] != frames[1]).any()
    assert frames[0].std() > 2  # not blank


@pytest.mark.parametrize(("text", "size"), [("1920x1080", (1920, 1080)), ("640X480", (640, 480)), (" 8x9 ", (8, 9))])
def test_sizes(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["1920", "x", "0x10", "-5x4", "1080p", "12x³"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="size"):
        parse_size(text)


def test_a_scene_comes_as_frames_and_as_a_video_of_them(tmp_path: Path) -> None:
    footage = make_footage(tmp_path, size=(321, 241))
    assert footage.describe() == {"width": 321, "height": 241, "pictures": 8, "source": "scene"}
    assert footage.clip is not None
    with open_source(footage.clip) as source:
        decoded = [frame.image for frame in source]
    assert len(decoded) == 24
    assert decoded[0].shape == (240, 320, 3)  # 4:2:0 has even sides
    difference = np.abs(decoded[3].astype(int) - footage.frames[1][:240, :320])
    assert difference.mean() < 8


@pytest.fixture
def flight(tmp_path: Path) -> Path:
    path = tmp_path / "flight.mp4"
    write_clip(path, [np.full((96, 128, 3), 10 * number, np.uint8) for number in range(24)])
    return path


def test_a_video_is_measured_on_as_it_is(flight: Path, tmp_path: Path) -> None:
    footage = make_footage(tmp_path, source=str(flight))
    assert footage.clip == flight
    assert footage.describe() == {"width": 128, "height": 96, "pictures": 8, "source": str(flight)}
    assert [round(float(frame.mean()) / 10) for frame in footage.frames] == list(range(0, 24, 3))


def test_a_size_makes_a_video_of_its_own(flight: Path, tmp_path: Path) -> None:
    footage = make_footage(tmp_path, source=str(flight), size=(64, 48))
    assert footage.clip == tmp_path / "clip.mp4"
    assert {frame.shape for frame in footage.frames} == {(48, 64, 3)}


def test_photographs_of_the_first_ones_size_are_taken(tmp_path: Path) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for number, side in enumerate((96, 96, 64, 96)):
        cv2.imwrite(str(photographs / f"{number}.png"), np.full((side, 128, 3), 50 * number, np.uint8))
    footage = make_footage(tmp_path, source=str(photographs))
    assert [int(frame[0, 0, 0]) for frame in footage.frames] == [0, 50, 150]
    assert footage.clip == tmp_path / "clip.mp4"


def test_footage_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"absent\.mp4"):
        make_footage(tmp_path, source=str(tmp_path / "absent.mp4"))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video" * 100)
    with pytest.raises(SourceError, match=r"broken\.mp4"):
        make_footage(tmp_path, source=str(broken))
    with pytest.raises(LiveSourceError, match="99"):
        make_footage(tmp_path, source="99")


def test_a_store_of_footage_that_cannot_be_had_says_no_more_than_that(tmp_path: Path) -> None:
    absent = tmp_path / "absent.mp4"
    with FootageStore(str(absent)) as store, pytest.raises(SourceError) as raised:
        store.take(None)
    assert str(raised.value).startswith(f"{absent}: no such file")
    with FootageStore("99") as store, pytest.raises(LiveSourceError):
        store.take(None)


def test_a_store_makes_each_size_once_and_is_gone_afterwards() -> None:
    with FootageStore() as store:
        footage, name = store.take((320, 240))
        assert store.take((320, 240)) == (footage, name)
        saved = np.load(store.folder / name)
        assert (saved == np.stack(footage.frames)).all()
        assert store.take((240, 240))[1] != name
    assert not store.folder.exists()
