"""Segments of a marked video: joined without a picture lost, whenever the process dies."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from crackedge.edge_runtime import Frame, OutputError
from crackedge.edge_runtime.scan.scanner import FrameResult
from crackedge.edge_runtime.sinks import segments
from crackedge.edge_runtime.sinks.marked_video import VideoSink


def write(path: Path, indices: range, *, size_hw: tuple[int, int] = (64, 96), fps: float = 10) -> None:
    """A marked video whose pictures are as bright as their number."""
    with VideoSink(path, fps=fps) as sink:
        for index in indices:
            image = np.full((*size_hw, 3), 40 + 12 * index, np.uint8)
            sink.write(Frame(image, index, index / fps), FrameResult((), None, 0.0, *size_hw[::-1], {}))  # type: ignore[arg-type]


def numbers(path: Path) -> list[int]:
    """Which pictures are in a video, by their brightness; their times must fit."""
    with av.open(str(path)) as container:
        found = [
            ((one.to_ndarray(format="rgb24").mean() - 44) / 11, float(one.time or 0))
            for one in container.decode(video=0)
        ]
    assert [round(value) for value, _ in found] == [round(10 * time_s) for _, time_s in found]
    return [round(value) for value, _ in found]


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    return tmp_path / "marked.mp4"


def test_two_runs_make_one_video(marked: Path) -> None:
    write(marked, range(7))
    assert segments.picture_count(segments.set_aside(marked)) == 7
    write(marked, range(7, 12))
    segments.finish(marked)
    assert numbers(marked) == list(range(12))
    assert list(marked.parent.iterdir()) == [marked]


def test_nothing_to_join(marked: Path) -> None:
    segments.finish(marked)
    write(marked, range(3))
    before = marked.read_bytes()
    segments.finish(marked)
    assert marked.read_bytes() == before
    assert list(marked.parent.iterdir()) == [marked]


def test_a_cut(marked: Path) -> None:
    write(marked, range(9))
    segments.join(marked, segments.set_aside(marked), most=4)
    assert numbers(marked) == [0, 1, 2, 3]


def test_pictures_that_change_size_stay_in_files_of_their_own(marked: Path) -> None:
    write(marked, range(4))
    segments.set_aside(marked)
    write(marked, range(4, 6), size_hw=(96, 64))
    segments.set_aside(marked)
    write(marked, range(6, 9), size_hw=(96, 64))
    segments.finish(marked)
    assert numbers(marked) == [0, 1, 2, 3]
    assert numbers(marked.with_name("marked-2.mp4")) == [4, 5, 6, 7, 8]
    assert len(list(marked.parent.iterdir())) == 2


def test_killed_between_joining_and_tidying(marked: Path) -> None:
    write(marked, range(4))
    segments.set_aside(marked)
    write(marked, range(4, 6))
    segments.finish(marked)
    marked.rename(marked.with_name("marked.joined.mp4"))
    write(marked.with_name("marked.segment-1.mp4"), range(6))
    segments.finish(marked)
    assert numbers(marked) == list(range(6))
    assert list(marked.parent.iterdir()) == [marked]


@pytest.mark.parametrize("removed", [0, 1, 2])
def test_killed_while_tidying(marked: Path, monkeypatch: pytest.MonkeyPatch, removed: int) -> None:
    for first in (0, 3, 6):
        write(marked, range(first, first + 3))
        segments.set_aside(marked)
    unlink, left = Path.unlink, iter([None] * removed)

    def killed(path: Path, **options: bool) -> None:
        if ".segment-" in path.name:
            try:
                next(left)
            except StopIteration:
                raise KeyboardInterrupt from None
        unlink(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            segments.finish(marked)
    assert len(list(marked.parent.glob("*.segment-*"))) == 3 - removed
    segments.finish(marked)
    assert numbers(marked) == list(range(9))
    assert list(marked.parent.iterdir()) == [marked]


def test_a_disk_that_cannot_take_it_leaves_the_segments(marked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(marked, range(4))
    parts = segments.set_aside(marked)
    marked.with_name(".marked.joined.part.mp4").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        segments.join(marked, parts)
    assert segments.picture_count(parts) == 4
