"""Outputs that can be opened, whatever happened to the run."""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackedge.edge_runtime import Frame, FrameResult, OptionError, OutputError, Region, ScoreMap
from crackedge.edge_runtime.records import as_text
from crackedge.edge_runtime.sinks.jsonl import JsonlSink, json_line
from crackedge.edge_runtime.sinks.marked_video import HYBRID, PRESETS, VideoSink, whole_length
from crackedge.edge_runtime.sinks.pictures import ImageSink


def no_cracks(image: Any) -> FrameResult:
    zeros, starts = np.zeros((1, 1), np.float32), np.zeros(1, np.intp)
    scores = ScoreMap(np.zeros((7, 7), np.float32), np.zeros((7, 7), np.float32), zeros, zeros, starts, starts)
    return FrameResult((), scores, 0.0, image.shape[1], image.shape[0], {"invoke": 1.0})


def frame_of(time_s: float, *, hw: tuple[int, int] = (64, 96), colour: Any = (200, 60, 40), index: int = 0) -> Frame:
    image = np.empty((*hw, 3), np.uint8)
    image[:] = colour
    return Frame(image, index, time_s)


def write_all(sink: VideoSink, frames: list[Frame]) -> None:
    with sink:
        for frame in frames:
            sink.write(frame, no_cracks(frame.image))
        sink.finish()


def decode(path: Path) -> tuple[list[float], list[Any]]:
    with av.open(str(path)) as container:
        pictures = list(container.decode(video=0))
        return [float(picture.time or 0) for picture in pictures], [p.to_ndarray(format="rgb24") for p in pictures]


def test_a_preset_that_x264_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="preset 'bold': expected one of ultrafast, superfast"):
        VideoSink(tmp_path / "m.mp4", preset="bold")


@pytest.mark.parametrize("preset", PRESETS)
def test_all_presets_are_x264_s(preset: str, tmp_path: Path) -> None:
    write_all(VideoSink(tmp_path / "m.mp4", preset=preset), [frame_of(0.0)])
    assert len(decode(tmp_path / "m.mp4")[1]) == 1


@pytest.mark.parametrize("start_s", [0.0, 0.5, 37.25])
def test_time_stamps_are_those_of_the_source(start_s: float, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    times_s = [start_s + float(t) for t in np.cumsum([0.0, *rng.uniform(0.003, 1.5, 30)])]
    write_all(VideoSink(tmp_path / "m.mp4"), [frame_of(time_s) for time_s in times_s])
    got_s, _ = decode(tmp_path / "m.mp4")
    assert got_s == pytest.approx(times_s, abs=0.6 / 90000)


def test_repeated_and_backward_time_stamps_lose_no_frame(tmp_path: Path) -> None:
    write_all(VideoSink(tmp_path / "m.mp4"), [frame_of(t) for t in (0.0, 0.1, 0.1, 0.05, 0.2)])
    got_s, _ = decode(tmp_path / "m.mp4")
    assert got_s == pytest.approx([0.0, 0.1, 0.1, 0.1, 0.2], abs=0.001)


def test_it_is_a_video_that_browsers_play(tmp_path: Path) -> None:
    write_all(VideoSink(tmp_path / "m.mp4", fps=30000 / 1001), [frame_of(n * 1001 / 30000) for n in range(40)])
    with av.open(str(tmp_path / "m.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert not HYBRID or stream.frames == 40, "an ordinary index after a clean end"
        assert stream.average_rate == pytest.approx(30000 / 1001, rel=1e-3)
        assert container.duration == pytest.approx(40 * 1001 / 30000 * 1e6, rel=0.01)
        keys = [number for number, picture in enumerate(container.decode(video=0)) if picture.key_frame]
    assert keys == [0, 15, 30]


@pytest.mark.parametrize("colour", [(200, 60, 40), (128, 128, 128), (20, 180, 90), (255, 255, 255), (0, 0, 0)])
def test_colours_survive(colour: tuple[int, int, int], tmp_path: Path) -> None:
    write_all(VideoSink(tmp_path / "m.mp4"), [frame_of(0.0, hw=(200, 300), colour=colour)])
    _, (picture,) = decode(tmp_path / "m.mp4")
    assert np.abs(picture[100:, 150:].astype(int) - colour).max() <= 3


@pytest.mark.parametrize("hw", [(65, 97), (64, 97), (65, 96), (1, 1), (3, 2)])
def test_odd_sizes_get_one_more_pixel(hw: tuple[int, int], tmp_path: Path) -> None:
    write_all(VideoSink(tmp_path / "m.mp4"), [frame_of(n / 10, hw=hw) for n in range(3)])
    times_s, pictures = decode(tmp_path / "m.mp4")
    assert len(times_s) == 3
    assert pictures[0].shape[:2] == (hw[0] + hw[0] % 2, hw[1] + hw[1] % 2)


def test_another_size_is_another_file(tmp_path: Path) -> None:
    sizes = [(64, 96)] * 3 + [(96, 64)] * 4 + [(64, 96)] * 2
    write_all(VideoSink(tmp_path / "m.mp4"), [frame_of(n / 10, hw=hw) for n, hw in enumerate(sizes)])
    parts = [decode(tmp_path / name) for name in ("m.mp4", "m-2.mp4", "m-3.mp4")]
    assert [part[1][0].shape[:2] for part in parts] == [(64, 96), (96, 64), (64, 96)]
    assert [t for part in parts for t in part[0]] == pytest.approx([n / 10 for n in range(9)], abs=1e-4)


def test_cracks_are_marked(tmp_path: Path) -> None:
    frame = frame_of(0.0, hw=(256, 256), colour=(128, 128, 128))
    region = Region((64, 64, 160, 128), ((64, 64), (160, 64), (160, 128), (64, 128)), 0.9, ((2, 2), (2, 3), (3, 4)))
    result = FrameResult((region,), no_cracks(frame.image).score_map, 0.9, 256, 256, {})
    with VideoSink(tmp_path / "m.mp4") as video, ImageSink(tmp_path / "marked") as images:
        video.write(frame, result)
        images.write(frame, result)
        video.finish()
    _, (picture,) = decode(tmp_path / "m.mp4")
    image = cv2.imread(str(tmp_path / "marked" / "000000.jpg"))
    assert image is not None
    for shown in (picture.astype(int), image[:, :, ::-1].astype(int)):
        assert shown[80, 80, 0] - shown[80, 80, 1] > 25, "tinted"
        assert abs(shown[200, 200] - 128).max() < 6, "as it was"


def run_and_die(body: str, folder: Path) -> int:
    script = f"""
        import os, resource, signal, sys
        from pathlib import Path
        import numpy as np
        from crackedge.edge_runtime import Frame, FrameResult, OutputError
        from crackedge.edge_runtime.sinks.marked_video import VideoSink
        from crackedge.edge_runtime.sinks.jsonl import JsonlSink
        folder = Path({str(folder)!r})
        rng = np.random.default_rng(0)
        still = rng.integers(0, 255, (120, 160, 3), dtype=np.uint8)
        result = FrameResult((), None, 0.0, 160, 120, {{}})
    """
    code = textwrap.dedent(script) + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode


@pytest.mark.parametrize("start_s", [0.0, 2.5])
def test_a_killed_process_loses_half_a_second(start_s: float, tmp_path: Path) -> None:
    body = f"""
        sink, lines = VideoSink(folder / "m.mp4", fps=30), JsonlSink(folder / "r.jsonl")
        for number in range(100):
            frame = Frame(still, number, {start_s} + number / 30)
            sink.write(frame, result)
            lines.note({{"index": number}})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run_and_die(body, tmp_path) == -9
    times_s, _ = decode(tmp_path / "m.mp4")
    assert times_s == pytest.approx([start_s + number / 30 for number in range(len(times_s))], abs=1e-4)
    assert len(times_s) >= 85
    lines = (tmp_path / "r.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines] == list(range(100))


def test_a_full_disk(tmp_path: Path) -> None:
    """As far as a process can have one of its own: a limit to the size of files."""
    body = """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
        video, lines = VideoSink(folder / "m.mp4", fps=30), JsonlSink(folder / "r.jsonl")
        failed = set()
        for number in range(600):
            note = {"index": number, "pad": "x" * 200}
            for sink, write in ((video, video.write), (lines, lambda *_: lines.note(note))):
                if sink not in failed:
                    try:
                        write(Frame(still, number, number / 30), result)
                    except OutputError as error:
                        assert "\\n" not in str(error)
                        failed.add(sink)
        assert failed == {video, lines}, failed
        video.finish()
        sys.exit(7)
    """
    assert run_and_die(body, tmp_path) == 7
    times_s, _ = decode(tmp_path / "m.mp4")
    assert len(times_s) >= 15
    lines = (tmp_path / "r.jsonl").read_bytes().splitlines(keepends=True)
    assert [json.loads(line)["index"] for line in lines] == list(range(len(lines)))
    assert lines[-1].endswith(b"\n"), "half a line was taken back"
    assert len(lines) > 200


@given(
    boxes=st.lists(st.tuples(st.sampled_from([b"moof", b"mdat", b"free"]), st.integers(0, 40))), cut=st.integers(0, 60)
)
def test_what_is_whole_of_a_cut_file(boxes: list[tuple[bytes, int]], cut: int) -> None:
    data, ends = b"", [0]
    for kind, payload in boxes:
        data += struct.pack(">I4s", payload + 8, kind) + bytes(payload)
        if kind != b"moof":
            ends.append(len(data))
    kept = data[: max(0, len(data) - cut)]
    with tempfile.NamedTemporaryFile() as file:
        file.write(kept)
        file.flush()
        assert whole_length(Path(file.name)) == max(end for end in ends if end <= len(kept))


@pytest.mark.parametrize("make", [JsonlSink, VideoSink])
def test_what_cannot_be_written_is_said_in_a_line(make: Any, tmp_path: Path) -> None:
    def use(path: Path) -> None:
        with make(path) as sink:
            sink.note({"type": "header"})
            sink.write(frame_of(0.0), no_cracks(frame_of(0.0).image))
            sink.finish()

    for path in (Path("/dev/full"), tmp_path / "no" / "such" / "folder.x"):
        with pytest.raises(OutputError, match="cannot be written") as raised:
            use(path)
        assert str(raised.value).startswith(f"{path}: ")
        assert "\n" not in str(raised.value)


def test_lines_are_there_at_once(tmp_path: Path) -> None:
    with JsonlSink(tmp_path / "r.jsonl") as sink:
        for number in range(3):
            sink.note({"a": number, "name": "Riß"})
            assert len((tmp_path / "r.jsonl").read_text(encoding="utf-8").splitlines()) == number + 1
    assert json.loads((tmp_path / "r.jsonl").read_text(encoding="utf-8").splitlines()[0]) == {"a": 0, "name": "Riß"}


@given(st.text(st.characters(), max_size=12))
def test_names_that_are_no_utf_8_are_plain_text(name: str) -> None:
    line = json_line({"type": "frame", "file": name})
    read = json.loads(line.decode())["file"]
    assert not any("\ud800" <= letter <= "\udfff" for letter in read)
    assert read == as_text(name) == as_text(as_text(name))
    assert json_line({"type": "frame", "file": read}) == line
    assert read == name or any("\ud800" <= letter <= "\udfff" for letter in name)


def test_a_byte_that_is_no_utf_8() -> None:
    assert json_line({"file": os.fsdecode(b'bad\xff"\\.jpg')}) == rb'{"file":"bad\\udcff\"\\.jpg"}' + b"\n"


def test_numbers_that_json_does_not_know_are_refused(tmp_path: Path) -> None:
    with JsonlSink(tmp_path / "r.jsonl") as sink, pytest.raises(ValueError, match="JSON"):
        sink.note({"a": float("nan")})
    assert (tmp_path / "r.jsonl").read_bytes() == b""


def test_lines_are_added_behind_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"half": ')
    for resumed in (False, True):
        with JsonlSink(path, append=True, resumed=resumed) as sink:
            sink.note({"type": "header"})
            sink.note({"type": "gap", "number": int(resumed)})
    assert path.read_text().splitlines() == [
        '{"half": ', '{"type":"header"}', '{"type":"gap","number":0}', '{"type":"gap","number":1}'
    ]  # fmt: skip


def test_a_file_that_is_removed_meanwhile_is_no_output(tmp_path: Path) -> None:
    with JsonlSink(tmp_path / "r.jsonl") as sink:
        sink.note({"type": "header"})
        (tmp_path / "r.jsonl").unlink()
        with pytest.raises(OutputError, match="removed meanwhile"):
            sink.note({"type": "gap"})


def test_a_pipe_needs_no_reader_to_be_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with JsonlSink(tmp_path / "pipe") as sink, (tmp_path / "pipe").open("rb") as reader:
        sink.note({"type": "header"})
        assert reader.readline() == b'{"type":"header"}\n'


@pytest.mark.parametrize("blocking", [True, False])
def test_stdout_takes_lines_too(blocking: bool) -> None:
    """And all of them, although whoever made the pipe set it not to block and reads late."""
    code = f"""
        import os
        from crackedge.edge_runtime.sinks.jsonl import JsonlSink, STDOUT
        os.set_blocking(1, {blocking})
        with JsonlSink(STDOUT) as sink:
            assert sink.name == "stdout"
            for number in range(300):
                sink.note({{"type": "gap", "number": number, "pad": "x" * 1000}})
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 30)[0]
    numbers = [json.loads(line)["number"] for line in process.stdout]
    assert process.wait(30) == 0
    assert numbers == list(range(300))
    process.stdout.close()


def test_an_encoder_without_frames_leaves_nothing(tmp_path: Path) -> None:
    write_all(VideoSink(tmp_path / "m.mp4"), [])
    assert not (tmp_path / "m.mp4").exists()
