"""Sources are opened as their options say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crackedge.edge_runtime import Frame, LiveSourceError, OptionError, SourceError, open_source
from crackedge.edge_runtime.sources.pipe import RawVideo
from crackedge.edge_runtime.sources.source import Source, SourceOptions


def test_relative_paths_stay_as_given(photo: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photo("shots/one.png").parents[1])
    with open_source("shots") as source:
        assert [frame.file for frame in source] == ["shots/one.png"]


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("nowhere.mp4", SourceError, "no such file"),
        ("no[a-b]thing*.jpg", SourceError, "no files there"),
        ("gopher://x/y", OptionError, "gopher:// is not read"),
        ("  ", OptionError, "empty"),
        ("scene:nothing-known", OptionError, "scene"),
        ("/dev/video250", LiveSourceError, "no such camera"),
    ],
)
def test_errors_in_one_line(
    text: str, error: type[Exception], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words) as raised:
        open_source(text)
    assert "\n" not in str(raised.value)


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no files"):
        open_source(tmp_path)
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(SourceError, match=r"no image or video.*\*\*"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("open_s", 0.0),
        ("read_s", float("nan")),
        ("start_s", -1.0),
        ("end_s", 0.0),
        ("every", 0),
        ("every_s", -0.5),
        ("fps", 0.0),
        ("size_wh", (640, 0)),
        ("rotate", 45),
        ("flip", "x"),
    ],
)
def test_values_that_cannot_be_used(option: str, value: Any) -> None:
    with pytest.raises(OptionError, match=option.partition("_")[0]):
        SourceOptions(**{option: value})


def test_what_shapes_the_frames_is_told() -> None:
    assert SourceOptions(open_s=3.0, give_up_s=1.0).shaping() == {}
    options = SourceOptions(rotate=90, start_s=1.0, realtime=False, raw=RawVideo(64, 48), size_wh=(64, 48))
    assert options.shaping() == {
        "rotate": 90,
        "start_s": 1.0,
        "realtime": False,
        "raw": {"width": 64, "height": 48, "pixel_format": "bgr24"},
        "size_wh": (64, 48),
    }


def test_a_scene_is_a_source() -> None:
    with open_source("scene:?frames=2&size=96x64&cracks=1&distractors=0") as source:
        frames = list(source)
    assert source.frame_count == len(frames) == 2
    assert source.kind == "scene"
    assert (source.width, source.height) == (96, 64) == frames[0].image.shape[1::-1]
    assert frames[1].time_s == pytest.approx(1 / 25)


def test_any_iterable_with_the_right_attributes_is_a_source(photo: Callable[..., Path]) -> None:
    def largest(source: Source) -> Frame:
        return max(source, key=lambda frame: frame.image.size)

    with open_source(photo("a.png")) as source:
        assert largest(source).index == 0
        assert largest(source).image.dtype == np.uint8
