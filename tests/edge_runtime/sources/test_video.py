"""Video files: exact times, upright pictures, and as much of a damaged file as there is."""

from __future__ import annotations

import itertools
import re
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

from crackedge.edge_runtime import Frame, SourceError, open_source
from crackedge.edge_runtime.sources.pipe import RawVideo
from crackedge.edge_runtime.sources.source import Gap, SourceOptions
from crackedge.edge_runtime.sources.splices import Splices
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


@pytest.mark.parametrize(("name", "codec"), [("clip.mkv", "libx264"), ("clip.webm", "libvpx")])
def test_matroska_that_is_cut_off_is_reported(name: str, codec: str, write_video: Any) -> None:
    path = write_video(name, frames=60, codec=codec, picture=noise)
    with open_source(path) as source:
        assert len(list(source)) == 60
        assert source.gaps == []
    cut(path)
    with open_source(path) as source:
        frames = list(source)
    assert 20 < len(frames) < 60
    (gap,) = source.gaps
    assert gap.reason == "the file ends before its declared end"
    assert gap.seconds == pytest.approx(6.0 - frames[-1].time_s - 0.1, abs=0.02)


def noise(number: int) -> Any:
    """A picture that takes some kilobytes, and says its number by how bright its left half is."""
    image = np.random.default_rng(number).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    image[:, :48] = 40 + number
    return image


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def punch(path: Path, *, size: int = 3000) -> None:
    """Take so many bytes out of the middle."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + data[len(data) // 2 + size :])


def check_jump(frames: list[Frame], gap: Gap) -> None:
    """The gap is where the positions jump."""
    before, after = next(pair for pair in itertools.pairwise(frames) if pair[1].index == gap.before_index)
    assert gap.time_s == before.time_s
    assert gap.seconds == pytest.approx(after.time_s - before.time_s)
    assert after.time_s - before.time_s > 0.15


def test_what_a_matroska_reader_skips_is_a_gap(write_video: Any) -> None:
    path = write_video("clip.mkv", frames=60, key_every=10, picture=noise)
    punch(path)
    with open_source(path) as source:
        frames = list(source)
    assert 30 < len(frames) < 60
    (gap,) = source.gaps
    assert gap.reason == "damaged data"
    check_jump(frames, gap)


def with_sound(path: Path, times: list[int]) -> Path:
    """Pictures at these tenths of a second, and sound all the time."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=10, options={"preset": "ultrafast", "crf": "12"})
        video.width, video.height, video.pix_fmt, video.codec_context.gop_size = 96, 64, "yuv420p", 10
        audio: Any = container.add_stream("aac", rate=8000)
        sounded = 0
        for number, tenth in enumerate(times):
            while sounded < tenth * 800:
                sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                sound.sample_rate, sound.pts, sound.time_base = 8000, sounded, Fraction(1, 8000)
                container.mux(audio.encode(sound))
                sounded += 1024
            frame = av.VideoFrame.from_ndarray(noise(number), "rgb24")
            frame.pts, frame.time_base = tenth, Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


def test_what_a_matroska_reader_skips_is_a_gap_beside_sound(tmp_path: Path) -> None:
    path = with_sound(tmp_path / "clip.mkv", list(range(60)))
    with open_source(path) as source:
        assert len(list(source)) == 60
        assert source.gaps == []
    punch(path)
    with open_source(path) as source:
        frames = list(source)
    (gap,) = source.gaps
    assert gap.reason == "damaged data"
    check_jump(frames, gap)


def test_a_pause_is_no_gap(write_video: Any, tmp_path: Path) -> None:
    paused = [*range(30), *range(60, 90)]
    for name in ("clip.mkv", "clip.mp4"):
        with open_source(write_video(name, times_s=[tenth / 10 for tenth in paused], picture=noise)) as source:
            assert len(list(source)) == 60
            assert source.gaps == [], name
    varying = [tenth for tenth in range(90) if tenth % 5]
    with open_source(with_sound(tmp_path / "varying.mkv", varying)) as source:
        assert len(list(source)) == len(varying)
        assert source.gaps == []


def test_fragments_behind_one_that_cannot_be_read_are_a_gap(write_video: Any) -> None:
    path = write_video(frames=60, key_every=10, movflags="frag_keyframe+empty_moov")
    data = bytearray(path.read_bytes())
    places = [match.start() - 4 for match in re.finditer(b"moof", data)]
    assert len(places) == 6
    data[places[3] : places[3] + 40] = b"\xff" * 40
    path.write_bytes(data)
    with open_source(path) as source:
        frames = list(source)
    assert len(frames) == 30
    (gap,) = source.gaps
    assert gap.reason == "the file cannot be read any further"
    assert (gap.before_index, gap.time_s, gap.seconds) == (30, frames[-1].time_s, None)


def place_of(path: Path, number: int) -> tuple[int, int]:
    """Where the data of the picture that is stored at that place begins, and how much there is of it."""
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
    assert packet.pos is not None
    return packet.pos, packet.size


def test_a_picture_that_is_not_whole_is_passed_over(write_video: Any) -> None:
    path = write_video("clip.avi", frames=40, codec="mpeg4", key_every=10, picture=noise)
    place, size = place_of(path, 20)  # a key frame
    with path.open("r+b") as file:
        file.seek(place + size // 3)
        file.write(bytes(size // 2))
    with open_source(path) as source:
        frames = list(source)
    assert [frame.index for frame in frames] == [*range(20), *range(21, 40)]
    assert [gap.reason for gap in source.gaps] == ["damaged data"]
    assert source.gaps[0].before_index == 21
    assert source.gaps[0].seconds == pytest.approx(0.2)
    with open_source(path, SourceOptions(start_s=3.0)) as source:
        assert [frame.index for frame in source] == list(range(30, 40))
        assert source.gaps == []


def test_the_half_picture_at_the_end_of_a_cut_off_file_is_passed_over(write_video: Any) -> None:
    path = write_video("clip.avi", frames=60, codec="mpeg4", key_every=10, picture=noise)
    place, size = place_of(path, 50)
    path.write_bytes(path.read_bytes()[: place + size // 2])
    with open_source(path) as source:
        assert [frame.index for frame in source] == list(range(50))
    assert source.gaps == [], "less than a second is missing of what FFmpeg expects in it"


def test_a_hole_in_a_transport_stream_is_a_gap(write_video: Any) -> None:
    path = write_video("clip.ts", frames=60, key_every=20, picture=noise)
    whole = path.read_bytes()
    middle = len(whole) // 188 // 2 * 188
    path.write_bytes(whole[:middle] + whole[middle + 188 :])
    with open_source(path) as source:
        frames = list(source)
    assert 58 < len(frames) <= 60
    assert [frame.time_s for frame in frames] == pytest.approx([frame.index / 10 for frame in frames], abs=0.001)
    assert [gap.reason for gap in source.gaps] == ["damaged data"]
    assert 2.0 < source.gaps[0].time_s < 4.0
    path.write_bytes(whole[:middle])
    with open_source(path) as source:
        assert 20 < len(list(source)) < 40
    assert source.gaps == [], "it has no declared end, and the picture that is cut off is the last"


def joined(tmp_path: Path, part: bytes) -> Path:
    path = tmp_path / "joined.ts"
    path.write_bytes(part + part)
    return path


def test_positions_go_on_where_time_stamps_begin_anew(transport_stream: bytes, tmp_path: Path) -> None:
    with open_source(joined(tmp_path, transport_stream)) as source:
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(80))
    assert [frame.time_s for frame in frames] == pytest.approx([number / 10 for number in range(80)], abs=0.001)
    (gap,) = source.gaps
    assert gap.reason == "time stamps begin anew"
    assert (gap.before_index, gap.time_s) == (40, frames[39].time_s)


@pytest.mark.parametrize("start_s", [0.7, 2.1, 3.9, 4.0, 4.3, 6.6])
def test_a_start_in_joined_recordings(start_s: float, transport_stream: bytes, tmp_path: Path) -> None:
    path = joined(tmp_path, transport_stream)
    with open_source(path) as source:
        whole = [frame for frame in source if frame.time_s >= start_s - 5e-4]
    with open_source(path, SourceOptions(start_s=start_s)) as source:
        part = list(source)
    assert [(frame.index, frame.time_s) for frame in part] == [(frame.index, frame.time_s) for frame in whole]
    assert all(np.array_equal(one.image, other.image) for one, other in zip(part, whole, strict=True))
    with open_source(path, SourceOptions(start_s=start_s, every_s=0.5)) as source:
        assert [frame.index for frame in source] == [frame.index for frame in whole[::5]]


def test_stray_time_stamps_are_no_splice() -> None:
    def packet(number: int, *, stamp: int | None = None, key: bool = False) -> Any:
        made: Any = av.Packet(10)
        made.pts = made.dts = number * 3000 if stamp is None else stamp
        made.duration, made.is_keyframe = 3000, key
        return made

    packets = [packet(number, key=number % 10 == 0) for number in range(60)]
    packets[15] = packet(15, stamp=900_000_000)
    packets[25] = packet(25, stamp=-900_000_000)
    splices = Splices(Fraction(1, 90000), 1 / 30)
    given = list(splices.straightened(iter(packets)))
    assert splices.begun == []
    assert [one.pts for n, one in enumerate(given) if n not in (15, 25)] == [
        n * 3000 for n in range(60) if n not in (15, 25)
    ]
    assert given[25].pts is None


def test_the_estimate_is_not_of_the_time_before_the_first_frame(write_video: Any) -> None:
    path = write_video("clip.mkv", times_s=[5 + number / 10 for number in range(30)])
    with open_source(path) as source:
        assert source.frame_count == 30
        frames = list(source)
    assert [len(frames), frames[0].time_s] == [30, 0.0]
    assert source.gaps == []


def test_nothing_selected_says_how_long_the_whole_file_is(write_video: Any) -> None:
    path = write_video(times_s=[0.0, 0.1, 0.2, 3.0, 3.1, 9.9])
    with (
        open_source(path, SourceOptions(start_s=1.0, end_s=2.0)) as source,
        pytest.raises(SourceError, match=r"before 2 s; it is 10\.\d s long"),
    ):
        list(source)


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


@pytest.mark.parametrize(("frames", "said"), [(47, True), (52, False)])
def test_an_end_more_than_a_second_early_is_said(frames: int, said: bool, write_video: Any) -> None:
    path = write_video(frames=60, movflags="faststart")
    path.write_bytes(path.read_bytes()[: place_of(path, frames)[0]])
    with open_source(path) as source:
        assert len(list(source)) == frames
    assert [gap.seconds for gap in source.gaps] == ([pytest.approx(6.0 - frames / 10)] if said else [])


def test_a_gap_is_put_on_record_once_though_the_file_is_read_again(write_video: Any, spoil: Any) -> None:
    path = write_video(frames=40)
    spoil(path, 20)
    with open_source(path) as source:
        first, second = list(source), list(source)
    assert len(first) == len(second)
    assert [gap.reason for gap in source.gaps] == ["damaged data"]


def test_damage_that_leaves_no_time_out_is_a_gap_where_it_is(write_video: Any, spoil: Any) -> None:
    times_s = sorted([*(number / 10 for number in range(60)), 2.05])
    path = write_video(times_s=times_s, key_every=1)
    spoil(path, times_s.index(2.05))
    with open_source(path) as source:
        assert len(list(source)) == 60
    (gap,) = source.gaps
    assert (gap.reason, gap.seconds) == ("damaged data", None)
    assert gap.time_s == pytest.approx(2.0)


@pytest.mark.parametrize(("lost", "seconds"), [(1, None), (3, 0.3)])
def test_damage_before_the_first_picture_is_a_gap_from_zero_on(
    lost: int, seconds: float | None, write_video: Any, spoil: Any
) -> None:
    path = write_video(frames=40, key_every=1)
    for number in range(lost):
        spoil(path, number)
    with open_source(path) as source:
        assert len(list(source)) == 40 - lost
    (gap,) = source.gaps
    assert (gap.reason, gap.time_s) == ("damaged data", 0.0)
    assert gap.seconds == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(("rotate", "aspect"), [(0, Fraction(16, 15)), (90, Fraction(15, 16)), (180, Fraction(16, 15))])
def test_pixels_that_are_not_square_are_told(write_video: Any, rotate: int, aspect: Fraction) -> None:
    path = write_video(frames=2, pixel_aspect=Fraction(16, 15))
    with open_source(path, SourceOptions(rotate=rotate)) as source:
        assert {frame.pixel_aspect for frame in source} == {aspect}
