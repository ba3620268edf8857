"""Streams that answer, stall, hang up, send rubbish, or nothing at all. Over loopback and real pipes."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from crackedge.benchmarks.faulty_camera import FaultyCamera, pictures
from crackedge.edge_runtime import Frame, LiveSourceError, Scanner, SourceError, open_source
from crackedge.edge_runtime.runs import run_sources
from crackedge.edge_runtime.sources.source import SourceOptions

pytestmark = pytest.mark.slow


def test_a_stream_of_jpegs_that_stalls(mjpeg_server: Callable[..., Any]) -> None:
    server = mjpeg_server(frames=5, then="stall")
    frames: list[Frame] = []
    started_s = time.monotonic()
    with open_source(server.url, SourceOptions(open_s=5, read_s=0.4, give_up_s=0)) as source:
        with pytest.raises(LiveSourceError, match=r"no frame for 0.4 s") as raised:
            frames.extend(source)
        assert source.live
        assert len(source.gaps) == 1
    assert time.monotonic() - started_s < 3
    assert "pw" not in str(raised.value)
    assert "pw" not in source.uri
    assert len(frames) + sum(frame.dropped_before for frame in frames) == 5
    assert frames[0].image.shape == (64, 96, 3)
    assert abs(frames[0].image[8:24, 8:40].mean((0, 1)) - (220, 30, 30)).max() < 12, "red first"


def test_a_stream_that_hangs_up(mjpeg_server: Callable[..., Any]) -> None:
    server = mjpeg_server(frames=4, then="end")
    with (
        open_source(server.url, SourceOptions(read_s=5, give_up_s=0)) as source,
        pytest.raises(LiveSourceError, match="the stream ended after"),
    ):
        list(source)


def test_a_run_goes_on_where_a_camera_comes_back_larger(
    faulty_camera: Callable[..., FaultyCamera], tiny_model: Path, tmp_path: Path
) -> None:
    """One results.jsonl with the gap between the sizes, a video for each size, in step with it."""
    camera = faulty_camera(pictures(8), pictures(size_wh=(192, 128)))
    said: list[str] = []
    outcome = run_sources(
        [camera.url],
        lambda: Scanner(tiny_model, threads=1),
        output=tmp_path / "out",
        reading=SourceOptions(give_up_s=30),
        max_frames=20,
        on_warning=said.append,
    )
    assert outcome.exit_code() == 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    kinds = [line["type"] for line in lines]
    gap = kinds.index("gap")
    assert kinds.count("gap") == 1
    assert [frame["width"] for frame in lines[1:gap]] == [96] * (gap - 1)
    assert {frame["width"] for frame in lines[gap + 1 : -1]} == {192}
    assert lines[gap]["before_index"] == lines[gap + 1]["index"] == gap - 1
    assert lines[gap]["seconds"] == pytest.approx(lines[gap + 1]["time_s"] - lines[gap - 1]["time_s"], abs=1e-5)
    assert (lines[-1]["reason"], lines[-1]["frames"]) == ("max-frames", 20)
    lost, back = (text for text in said if text.startswith("http://"))
    assert lost.endswith(f"the stream ended after {gap - 1} frames; waiting for it to come back")
    assert "the stream ended at" in back
    assert "s missing" in back
    times_s = []
    for name, width in (("marked.mp4", 96), ("marked-2.mp4", 192)):
        with av.open(str(tmp_path / "out" / name)) as video:
            assert video.streams.video[0].width == width
            times_s += [float(picture.time or 0) for picture in video.decode(video=0)]
    assert times_s == pytest.approx([line["time_s"] for line in lines if line["type"] == "frame"], abs=1e-4)


def test_a_stream_that_never_begins(mjpeg_server: Callable[..., Any]) -> None:
    server = mjpeg_server(frames=0, then="stall")
    with pytest.raises(LiveSourceError, match=r"did not open within 0.4 s"):
        open_source(server.url, SourceOptions(open_s=0.4))


def test_a_server_that_accepts_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for scheme in ("rtsp", "http", "tcp"):
            with pytest.raises(LiveSourceError, match="did not open"):
                open_source(f"{scheme}://127.0.0.1:{port}/x", SourceOptions(open_s=0.2))


def test_a_server_that_sends_rubbish() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"rubbish " * 1000)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(LiveSourceError, match="cannot be opened"):
            open_source(f"http://127.0.0.1:{server.getsockname()[1]}/x", SourceOptions(open_s=5))
        thread.join()


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(LiveSourceError, match=r"127.0.0.1.*Connection refused"):
        open_source(f"rtsp://127.0.0.1:{port}/x", SourceOptions(open_s=2))
    with pytest.raises(SourceError, match="Connection refused"):
        open_source(f"http://127.0.0.1:{port}/flight.mp4", SourceOptions(open_s=2))
    with pytest.raises(LiveSourceError, match="did not open"):
        open_source(f"udp://127.0.0.1:{port}", SourceOptions(open_s=0.2))


def test_a_pipe_that_ends_is_an_end(tmp_path: Path, write_video: Any) -> None:
    data = write_video("clip.ts", frames=30).read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    thread = threading.Thread(target=pipe.write_bytes, args=(data,))
    thread.start()
    with open_source(pipe) as source:
        frames = list(source)
    thread.join()
    assert len(frames) + sum(frame.dropped_before for frame in frames) == 30
    assert source.gaps == []


def test_a_pipe_that_stalls(tmp_path: Path, write_video: Any) -> None:
    data = write_video("clip.ts", frames=40).read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    over = threading.Event()

    def feed() -> None:
        with pipe.open("wb") as end:
            end.write(data)
            end.flush()
            over.wait(20)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        with (
            open_source(pipe, SourceOptions(read_s=0.3, give_up_s=0)) as source,
            pytest.raises(LiveSourceError, match=r"no frame for 0.3 s"),
        ):
            list(source)
    finally:
        over.set()
        thread.join()


def test_readers_that_are_left_behind_end_some_time(mjpeg_server: Callable[..., Any]) -> None:
    server = mjpeg_server(frames=6, then="stall")
    with (
        open_source(server.url, SourceOptions(open_s=0.5, read_s=0.2, give_up_s=0)) as source,
        pytest.raises(LiveSourceError),
    ):
        list(source)
    (reader,) = [thread for thread in threading.enumerate() if thread.name == f"reader of {source.name}"]
    reader.join(10)
    assert not reader.is_alive()
