"""What comes through pipes: recognised or bare, the newest frame or every one, and no wait that nobody can end."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from crackedge.edge_runtime import LiveSourceError, OptionError, Scanner, SourceError, open_source
from crackedge.edge_runtime.runs import run_sources
from crackedge.edge_runtime.sources.pipe import PIXEL_FORMATS, PipeReader, RawVideo, parse_raw
from crackedge.edge_runtime.sources.source import SourceOptions
from crackedge.edge_runtime.stop import StopFlag

pytestmark = pytest.mark.slow

Feed = Callable[[list[bytes]], Path]
EVERY = SourceOptions(realtime=False)


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    """A named pipe into which somebody writes these pieces, and then hangs up; None instead of the end: never."""
    threads, leave = [], threading.Event()

    def start(pieces: list[bytes], *, then_wait: bool = False) -> Path:
        path = tmp_path / "pipe"
        os.mkfifo(path)

        def write() -> None:
            try:
                with path.open("wb") as pipe:
                    for piece in pieces:
                        pipe.write(piece)
                        pipe.flush()
                    if then_wait:
                        leave.wait(30)
            except BrokenPipeError:
                return  # the reader has gone

        threads.append(threading.Thread(target=write))
        threads[-1].start()
        return path

    yield start
    leave.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def muxed(form: str, codec: str, **options: str) -> bytes:
    """A grey that counts."""
    file = io.BytesIO()
    with av.open(file, "w", format=form, options=options) as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.width, stream.height = 96, 64
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(20):
            image = np.full((64, 96, 3), 20 + 10 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def greys(frames: Any) -> list[int]:
    return [round((float(frame.image.mean()) - 20) / 10) for frame in frames]


@pytest.mark.parametrize(
    ("form", "codec", "options"),
    [
        ("mjpeg", "mjpeg", {}),
        ("mpegts", "libx264", {}),
        ("h264", "libx264", {}),
        ("matroska", "libx264", {}),
        ("yuv4mpegpipe", "wrapped_avframe", {}),
        ("mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
    ],
)
def test_whatever_ffmpeg_recognises(form: str, codec: str, options: dict[str, str], feed: Feed) -> None:
    path = feed([muxed(form, codec, **options)])
    with open_source(path, EVERY) as source:
        assert (source.kind, source.live) == ("stream", False)
        frames = list(source)
    assert greys(frames) == list(range(20))
    assert [frame.index for frame in frames] == list(range(20))
    assert all(frame.captured_at is None for frame in frames)
    if form not in ("mjpeg", "h264"):  # which have no time stamps
        assert [frame.time_s for frame in frames] == pytest.approx([n / 10 for n in range(20)], abs=0.002)


@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
@pytest.mark.parametrize("size_wh", [(96, 64), (50, 38)])
def test_bare_pixels(pixel_format: Any, size_wh: tuple[int, int], feed: Feed) -> None:
    width, height = size_wh
    image = np.full((height, width, 3), (200, 100, 50), np.uint8)
    one = av.VideoFrame.from_ndarray(image, "rgb24").to_ndarray(format=pixel_format).tobytes()
    path = feed([one[: len(one) // 3], one[len(one) // 3 :] + one * 3])
    options = SourceOptions(realtime=False, raw=RawVideo(width, height, pixel_format), fps=5.0)
    with open_source(path, options) as source:
        frames = list(source)
    assert [frame.time_s for frame in frames] == pytest.approx([0.0, 0.2, 0.4, 0.6])
    shown = frames[3].image
    assert shown.shape == (height, width, 3)
    expected = shown[0, 0, :1].repeat(3) if pixel_format == "gray" else np.array([200, 100, 50])
    assert abs(shown.reshape(-1, 3).mean(0) - expected).max() < 4


def test_half_a_bare_frame_at_the_end_is_a_gap(feed: Feed) -> None:
    path = feed([bytes(96 * 64 * 3 * 5 // 2)])
    with open_source(path, SourceOptions(realtime=False, raw=RawVideo(96, 64))) as source:
        assert len(list(source)) == 2
    assert [gap.before_index for gap in source.gaps] == [2]


def test_the_newest_frame_counts_unless_asked_otherwise(feed: Feed) -> None:
    path = feed([muxed("mpegts", "libx264")])
    with open_source(path) as source:
        assert source.live
        frames = []
        for frame in source:
            frames.append(frame)
            time.sleep(0.2)
    assert sum(1 + frame.dropped_before for frame in frames) == 20
    assert len(frames) < 20
    assert greys(frames)[-1] == 19
    assert frames[0].captured_at is not None


def test_a_stretch_of_a_pipe(feed: Feed) -> None:
    options = SourceOptions(realtime=False, start_s=0.5, end_s=1.5, every=2)
    with open_source(feed([muxed("mpegts", "libx264")]), options) as source:
        assert greys(source) == [5, 7, 9, 11, 13]


def test_a_writer_that_stalls_is_a_gap_and_the_end(feed: Any) -> None:
    path = feed([muxed("mjpeg", "mjpeg")], then_wait=True)
    with open_source(path, SourceOptions(realtime=False, read_s=0.4)) as source:
        assert len(list(source)) >= 19
    assert [gap.reason for gap in source.gaps] == ["no data for 0.4 s"]


def test_nobody_writes(feed: Any) -> None:
    with pytest.raises(SourceError, match=r"cannot be opened \(no data for 0.3 s\)"):
        open_source(feed([], then_wait=True), SourceOptions(realtime=False, open_s=0.3))


def test_nobody_comes_to_write(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match=r"cannot be opened \(no data for 0.3 s\)"):
        open_source(tmp_path / "pipe", SourceOptions(realtime=False, open_s=0.3))


def test_a_wait_for_data_ends_when_asked(feed: Any) -> None:
    path, stop = feed([muxed("mjpeg", "mjpeg")], then_wait=True), StopFlag()
    threading.Timer(0.5, stop.ask).start()
    started_s = time.monotonic()
    with open_source(path, SourceOptions(realtime=False, read_s=60.0, open_s=60.0), stop=stop) as source:
        list(source)
    assert time.monotonic() - started_s < 20
    assert source.gaps == []


def test_a_run_that_is_stopped_while_nobody_writes_is_no_failure(tiny_model: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    stop = StopFlag()
    threading.Timer(0.5, stop.ask).start()
    reading = SourceOptions(realtime=False, open_s=60.0)
    outcome = run_sources(
        [str(tmp_path / "pipe")], lambda: Scanner(tiny_model), output=tmp_path / "out", reading=reading, stop=stop
    )
    assert (outcome.summaries, outcome.errors) == ((), ())


def test_a_pipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        PipeReader(str(tmp_path / "none"), first_s=1, read_s=1, stop=lambda: False)


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("640x480", RawVideo(640, 480, "bgr24")),
        ("1920x1080:nv12", RawVideo(1920, 1080, "nv12")),
        ("1x1:gray", RawVideo(1, 1, "gray")),
    ],
)
def test_bare_frames_are_described(text: str, raw: RawVideo) -> None:
    assert parse_raw(text) == raw


@pytest.mark.parametrize("text", ["", "640", "640x", "640x480:", "0x480", "640x99999", "640x480:rgba", "-640x480"])
def test_no_such_bare_frames(text: str) -> None:
    with pytest.raises(OptionError, match="raw frames"):
        parse_raw(text)


def reading_stdin(options: str) -> list[str]:
    script = f"""
        from crackedge.edge_runtime import CrackedgeError, SourceOptions, open_source
        try:
            with open_source("-", SourceOptions({options})) as source:
                print(*[frame.index for frame in source], source.live)
        except CrackedgeError as error:
            print(type(error).__name__, error)
    """
    return [sys.executable, "-c", textwrap.dedent(script)]


def test_stdin() -> None:
    data = muxed("mpegts", "libx264")
    for options, words in (("realtime=False, every=7", "0 7 14 False"), ("", "True")):
        done = subprocess.run(reading_stdin(options), input=data, capture_output=True, timeout=60, check=True)
        assert done.stdout.decode().strip().endswith(words)


def test_a_terminal_is_no_pipe() -> None:
    master, terminal = pty.openpty()
    try:
        done = subprocess.run(reading_stdin(""), stdin=terminal, capture_output=True, timeout=60, check=True)
    finally:
        os.close(master)
        os.close(terminal)
    assert done.stdout.decode().startswith("OptionError -: stdin is a terminal")


def test_a_live_pipe_without_a_video(feed: Feed) -> None:
    with pytest.raises(LiveSourceError, match=r"pipe: cannot be opened \(not a video, or damaged\)"):
        open_source(feed([b"These are words.\n" * 500]))
