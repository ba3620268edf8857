"""Sources seen in another way: turned, over and over, at their own pace, less often."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crackedge.edge_runtime import SourceError, open_source
from crackedge.edge_runtime.sources.orientation import oriented
from crackedge.edge_runtime.sources.source import SourceOptions
from crackedge.edge_runtime.stop import StopFlag

SMALL = "scene:?frames=50&size=96x64&cracks=1&distractors=0"


@pytest.mark.parametrize(("rotate", "flip"), [(90, ""), (180, "h"), (0, "hv"), (270, "v")])
def test_frames_are_turned_and_nothing_else_changes(rotate: int, flip: str) -> None:
    with open_source(SMALL) as source:
        plain = list(source)
    with open_source(SMALL, SourceOptions(rotate=rotate, flip=flip)) as source:
        turned = list(source)
    assert [(f.index, f.time_s) for f in turned] == [(f.index, f.time_s) for f in plain]
    for one, other in zip(plain, turned, strict=True):
        assert np.array_equal(oriented(one.image, rotate=rotate, flip=flip), other.image)
    assert (source.width, source.height) == turned[0].image.shape[1::-1]


@pytest.mark.parametrize("kind", ["video", "scene", "images"])
def test_a_loop_goes_on_where_the_file_begins_again(kind: str, write_video: Any, photo: Callable[..., Path]) -> None:
    if kind == "video":
        text: Any = write_video(frames=8)
    elif kind == "images":
        text = [photo(f"shots/{number}.png").parent for number in range(8)].pop()
    else:
        text = SMALL.replace("frames=50", "frames=8")
    options = SourceOptions(loop=True, fps=10 if kind == "images" else None)
    with open_source(text, options) as source:
        frames = [frame for frame, _ in zip(source, range(20), strict=False)]
        assert source.frame_count is None
    assert [frame.index for frame in frames] == list(range(20))
    steps_s = np.diff([frame.time_s for frame in frames])
    assert steps_s == pytest.approx(steps_s[0], abs=1e-4)
    assert np.array_equal(frames[3].image, frames[11].image)
    assert not np.array_equal(frames[3].image, frames[12].image) or kind == "images"


def test_a_stretch_in_a_loop(write_video: Any) -> None:
    with open_source(write_video(frames=20), SourceOptions(start_s=0.5, end_s=0.9, loop=True)) as source:
        frames = [frame for frame, _ in zip(source, range(10), strict=False)]
    assert [frame.index for frame in frames] == list(range(5, 15))
    assert [frame.time_s for frame in frames] == pytest.approx([0.5 + 0.1 * number for number in range(10)], abs=1e-4)
    assert np.array_equal(frames[0].image, frames[4].image)


def test_what_is_broken_is_told_once_however_often_it_is_read(
    write_video: Any, spoil: Callable[[Path, int], None], photo: Callable[..., Path]
) -> None:
    path = write_video(frames=40, movflags="faststart")
    spoil(path, 20)
    photo("shots/0.png")
    photo("shots/2.png").with_name("1.png").write_bytes(b"no picture")
    for text in (path, path.parent / "shots"):
        with open_source(text, SourceOptions(loop=True)) as source:
            for _, _ in zip(source, range(100), strict=False):
                pass
            assert len(source.gaps) + len(source.skipped) == 1


def test_a_file_in_real_time_is_live_and_takes_as_long_as_it_lasts() -> None:
    started_s = time.monotonic()
    with open_source(SMALL, SourceOptions(realtime=True)) as source:
        assert source.live
        frames = list(source)
    lasted_s = time.monotonic() - started_s
    assert lasted_s > 49 / 25
    assert len(frames) + sum(frame.dropped_before for frame in frames) == 50
    assert all(frame.captured_at is not None for frame in frames)
    assert [frame.index for frame in frames] == list(range(len(frames)))


def test_who_is_slow_gets_the_newest_frame_and_the_pace_is_kept() -> None:
    with open_source(SMALL) as source:
        plain = [frame.image for frame in source]
    seen = []
    with open_source(SMALL, SourceOptions(realtime=True)) as source:
        for frame in source:
            seen.append((frame.time_s, next(n for n, image in enumerate(plain) if np.array_equal(image, frame.image))))
            time.sleep(0.3)
    assert len(seen) < 15
    assert seen[-1][1] == 49, "the last one is not lost"
    for time_s, number in seen:
        assert time_s >= number / 25 - 0.05, "none comes before its time"


def test_a_wait_for_the_next_frame_ends_when_asked(write_video: Any) -> None:
    stop = StopFlag()
    with open_source(write_video(times_s=[0.0, 60.0]), SourceOptions(realtime=True), stop=stop) as source:
        started_s = time.monotonic()
        for _ in source:
            stop.ask()
    assert time.monotonic() - started_s < 5


def test_a_live_file_without_frames_says_so_when_it_is_opened(write_video: Any) -> None:
    with pytest.raises(SourceError, match="no frame from 9 s on"):
        open_source(write_video(), SourceOptions(realtime=True, start_s=9.0))


def test_skipped_images_are_told_in_real_time_too(photo: Callable[..., Path]) -> None:
    photo("shots/2.png").with_name("1.png").write_bytes(b"no picture")
    photo("shots/3.png")
    with open_source(photo("shots/4.png").parent, SourceOptions(realtime=True, fps=20.0)) as source:
        frames = list(source)
    assert len(frames) + sum(frame.dropped_before for frame in frames) == 3
    assert [Path(skip.file).name for skip in source.skipped] == ["1.png"]


def test_a_live_source_less_often() -> None:
    options = SourceOptions(realtime=True, every_s=0.5)
    with open_source(SMALL, options) as source:  # a file: selected before it is live
        assert source.fps == pytest.approx(25 / 13)
        assert [frame.index for frame in source] == [0, 1, 2, 3]


def test_a_camera_on_the_network_less_often(mjpeg_server: Any) -> None:
    server = mjpeg_server(frames=400, every_s=0.02)
    with open_source(server.url, SourceOptions(every_s=0.4)) as source:
        frames = [frame for frame, _ in zip(source, range(4), strict=False)]
        assert source.status().connected  # type: ignore[attr-defined]  # a live source's own, through the view
    steps_s = np.diff([frame.time_s for frame in frames])
    assert (steps_s > 0.3).all()
    assert all(frame.dropped_before > 2 for frame in frames[1:])
