"""Video files: exact times, upright pictures, and as much of a damaged file as there is."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from crackedge.edge_runtime import SourceError, open_source
from crackedge.edge_runtime.sources.pipe import RawVideo
from crackedge.edge_runtime.sources.source import SourceOptions
from crackedge.edge_runtime.stop import StopFlag

VIDEOS = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "videos"
ONE = 1 << 16


def test_a_video_on_the_network_that_is_not_there_leaves_no_thread() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    before = threading.active_count()
    for _ in range(3):
        with pytest.raises(SourceError, match="cannot be opened"):
            open_source(f"http://127.0.0.1:{port}/flight.mp4")
    deadline_s = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_variable_frame_rate_keeps_every_time_stamp(write_video: Any) -> None:
    times_s = [0.0, 0.04, 0.05, 0.9, 0.9333, 2.0, 2.5001]
    with open_source(write_video(times_s=times_s)) as source:
        frames = list(source)
    assert [frame.time_s for frame in frames] == pytest.approx(times_s, abs=0.5 / 90000)
    assert [frame.index for frame in frames] == list(range(7))
    assert all(frame.captured_at is None and frame.dropped_before == 0 for frame in frames)
    assert source.gaps == []


def test_frames_are_rgb_in_order(write_video: Any) -> None:
    with open_source(write_video(frames=12)) as source:
        images = [frame.image for frame in source]
    assert source.frame_count == 12
    assert source.fps == pytest.approx(10, rel=0.01)
    for number, image in enumerate(images):
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        expected = picture(number)
        assert abs(image[8:24, 8:40].mean((0, 1)) - expected[8:24, 8:40].mean((0, 1))).max() < 6, "red"
        assert abs(image[48, 80, 0] - float(expected[48, 80, 0])) < 4, "the grey that counts"


def picture(number: int) -> Any:
    image = np.zeros((64, 96, 3), np.uint8)
    image[:32, :48] = (220, 30, 30)
    image[32:, 48:] = 40 + number * 4
    return image


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((ONE, 0, 0, ONE), lambda image: image),
        ((0, ONE, -ONE, 0), lambda image: np.rot90(image, -1)),
        ((-ONE, 0, 0, -ONE), lambda image: np.rot90(image, 2)),
        ((0, -ONE, ONE, 0), lambda image: np.rot90(image, 1)),
        ((-ONE, 0, 0, ONE), lambda image: image[:, ::-1]),
        ((ONE, 0, 0, -ONE), lambda image: image[::-1]),
        ((0, ONE, ONE, 0), lambda image: image.transpose(1, 0, 2)),
    ],
    ids=["none", "right", "upside down", "left", "mirrored", "flipped", "transposed"],
)
def test_the_display_matrix_is_applied(matrix: tuple[int, int, int, int], turn: Any, write_video: Any) -> None:
    path = write_video()
    with open_source(path) as source:
        plain = next(iter(source)).image
    data = bytearray(path.read_bytes())
    start = data.find(b"tkhd") + 44
    assert struct.unpack(">9i", data[start : start + 36]) == (ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)
    a, b, c, d = matrix
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    with open_source(path) as source:
        shown = next(iter(source)).image
    assert shown.flags.c_contiguous
    assert np.array_equal(shown, turn(plain))


def test_a_file_that_is_cut_off_gives_what_it_has(write_video: Any) -> None:
    path = write_video(frames=60, movflags="faststart")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with open_source(path) as source:
        frames = list(source)
    assert 20 < len(frames) < 60
    (gap,) = source.gaps
    assert gap.before_index == len(frames)
    assert gap.time_s == frames[-1].time_s
    assert gap.seconds == pytest.approx(6.0 - frames[-1].time_s - 0.1, abs=0.02)


def test_damage_in_the_middle_is_a_gap(write_video: Any, spoil: Callable[[Path, int], None]) -> None:
    path = write_video(frames=40, movflags="faststart")
    spoil(path, 20)
    with open_source(path) as source:
        frames = list(source)
    assert 35 <= len(frames) < 40
    (gap,) = source.gaps
    assert gap.reason == "damaged data"
    assert frames[gap.before_index].time_s > 2.0 > gap.time_s
    assert gap.seconds == pytest.approx(frames[gap.before_index].time_s - gap.time_s)


@pytest.mark.skipif(not VIDEOS.is_dir(), reason="no shared videos here")
def test_a_real_video_cut_off(tmp_path: Path) -> None:
    data = (VIDEOS / "concrete_pan.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 4])
    with open_source(tmp_path / "cut.mp4") as source:
        times_s = [frame.time_s for frame in source]
    assert len(times_s) >= 40
    assert times_s == [float(number * Fraction(1001, 30000)) for number in range(len(times_s))]
    assert source.gaps


@pytest.mark.parametrize("content", [b"", b"These are words.\n" * 50, bytes(range(256)) * 20, b"\0\0\0\x18ftypmp42"])
def test_what_is_no_video(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="cannot be opened") as raised:
        open_source(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_a_video_without_frames(write_video: Any) -> None:
    path = write_video(frames=1)
    data = bytearray(path.read_bytes())
    start = data.find(b"mdat") + 4
    data[start : data.find(b"moov") - 4] = bytes(data.find(b"moov") - 4 - start)
    path.write_bytes(data)
    with open_source(path) as source, pytest.raises(SourceError, match="not one frame"):
        list(source)


@pytest.mark.parametrize("claimed", [1, 5, 4000])
def test_a_header_with_a_wrong_frame_count_is_not_believed(claimed: int, write_video: Any) -> None:
    path = write_video("clip.avi", frames=12, codec="mjpeg")
    data = bytearray(path.read_bytes())
    for place in (data.find(b"avih") + 24, data.find(b"strh") + 40):  # dwTotalFrames, dwLength
        assert data[place : place + 4] == struct.pack("<I", 12)
        data[place : place + 4] = struct.pack("<I", claimed)
    path.write_bytes(data)
    with open_source(path) as source:
        assert source.frame_count == claimed, "an estimate"
        assert [frame.index for frame in source] == list(range(12))
    with open_source(path, SourceOptions(start_s=0.5, every=3)) as source:
        assert [frame.index for frame in source] == [5, 8, 11]


def test_files_are_read_again_from_their_beginning(write_video: Any) -> None:
    for name in ("clip.mp4", "clip.h264"):
        with open_source(write_video(name, frames=7)) as source:
            first, second = list(source), list(source)
        assert [frame.time_s for frame in first] == [frame.time_s for frame in second]
        assert all(np.array_equal(one.image, other.image) for one, other in zip(first, second, strict=True))


def test_bare_pixels_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "clip.yuv").write_bytes(bytes(range(64)) * 36 * 3)
    options = SourceOptions(raw=RawVideo(48, 32, "nv12"), fps=4.0, start_s=0.25)
    with open_source(tmp_path / "clip.yuv", options) as source:
        assert [(frame.index, frame.time_s, frame.image.shape) for frame in source] == [
            (1, 0.25, (32, 48, 3)),
            (2, 0.5, (32, 48, 3)),
        ]


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "s.mp4"), "w") as container:
        stream: Any = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(SourceError, match="no video in it"):
        open_source(tmp_path / "s.mp4")


def test_frames_that_change_size_are_passed_on(write_video: Any, tmp_path: Path) -> None:
    first = write_video("a.h264", frames=5).read_bytes()
    second = write_video("b.h264", frames=5, size_wh=(128, 96)).read_bytes()
    (tmp_path / "both.h264").write_bytes(first + second)
    with open_source(tmp_path / "both.h264") as source:
        frames = list(source)
    assert [frame.image.shape for frame in frames] == [(64, 96, 3)] * 5 + [(96, 128, 3)] * 5
    times_s = [frame.time_s for frame in frames]
    assert times_s[0] == 0.0, "raw streams have no time stamps; the nominal rate gives them"
    assert times_s == sorted(set(times_s))


@pytest.mark.parametrize("name", ["clip.avi", "clip.mkv", "clip.mov", "clip.ts"])
def test_other_containers_begin_at_zero(name: str, write_video: Any) -> None:
    codec = "mjpeg" if name.endswith("avi") else "libx264"
    with open_source(write_video(name, frames=6, codec=codec)) as source:
        times_s = [frame.time_s for frame in source]
    assert times_s == pytest.approx([number / 10 for number in range(6)], abs=0.002)


def test_the_file_is_closed(write_video: Any) -> None:
    path = write_video()

    def open_files() -> int:
        return sum(path.samefile(link) for link in Path("/proc/self/fd").iterdir() if link.exists())

    with open_source(path) as source:
        next(iter(source))
        assert open_files() == 1
    assert open_files() == 0


@contextmanager
def stalling_server(data: bytes) -> Iterator[str]:
    """The address of a video of which only so much comes, or nothing at all."""
    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connections.append(connection)
                connection.recv(1 << 16)
                if data:
                    head = f"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: {2 * len(data)}\r\n\r\n"
                    connection.sendall(head.encode() + data)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/flight.ts"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in connections:
                connection.close()


@pytest.fixture
def transport_stream(tmp_path: Path, write_video: Any) -> bytes:
    """A video that can be read from its beginning on."""
    with av.open(str(write_video(frames=40))) as given, av.open(str(tmp_path / "flight.ts"), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = stream
                made.mux(packet)
    return (tmp_path / "flight.ts").read_bytes()


def test_a_server_that_does_not_answer_is_left_when_told_to_stop() -> None:
    stop = StopFlag()
    with stalling_server(b"") as url:
        threading.Timer(0.3, stop.ask).start()
        began_s = time.monotonic()
        with pytest.raises(SourceError, match="cannot be opened"):
            open_source(url, SourceOptions(open_s=60), stop=stop)
        assert time.monotonic() - began_s < 30
        with pytest.raises(SourceError, match="no answer in time"):
            open_source(url, SourceOptions(open_s=0.2))


def test_a_server_that_stalls_is_left_when_told_to_stop(transport_stream: bytes) -> None:
    stop = StopFlag()
    with (
        stalling_server(transport_stream) as url,
        open_source(url, SourceOptions(read_s=60), stop=stop) as source,
        closing(iter(source)) as frames,  # type: ignore[type-var]  # a generator
    ):
        began_s = time.monotonic()
        next(frames)
        threading.Timer(0.5, stop.ask).start()
        seen = 1 + sum(1 for _ in frames)
    assert time.monotonic() - began_s < 30
    assert 1 <= seen <= 40
    assert source.gaps == []


def test_a_server_that_stalls_is_a_gap(transport_stream: bytes) -> None:
    with stalling_server(transport_stream) as url, open_source(url, SourceOptions(read_s=0.5)) as source:
        seen = sum(1 for _ in source)
        (gap,) = source.gaps
    assert seen > 30
    assert gap.reason == "no data for 0.5 s"
