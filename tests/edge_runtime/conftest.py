"""Real videos and a real stream, made on the spot."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from crackedge.benchmarks.faulty_camera import FaultyCamera, pictures, stall
from crackedge.edge_runtime import Frame, FrameResult, Region, ScoreMap

Picture = npt.NDArray[np.uint8]


def picture_of(number: int, *, width: int = 96, height: int = 64) -> Picture:
    """Four quarters, red, green, blue and a grey that counts: every turn and flip shows, and so does the order."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (220, 30, 30)
    image[: height // 2, width // 2 :] = (30, 200, 30)
    image[height // 2 :, : width // 2] = (30, 30, 220)
    image[height // 2 :, width // 2 :] = 40 + number * 4 % 200
    return image


class WriteVideo(Protocol):
    """Encodes frames with the time stamps given, and returns the path."""

    def __call__(
        self,
        name: str = "clip.mp4",
        *,
        times_s: Sequence[float] = (),
        frames: int = 20,
        size_wh: tuple[int, int] = (96, 64),
        codec: str = "libx264",
        key_every: int = 5,
        pixel_aspect: Fraction = Fraction(1),
        picture: Callable[[int], Picture] | None = None,
        **container_options: str,
    ) -> Path: ...


@pytest.fixture
def write_video(tmp_path: Path) -> WriteVideo:
    def write(
        name: str = "clip.mp4",
        *,
        times_s: Sequence[float] = (),
        frames: int = 20,
        size_wh: tuple[int, int] = (96, 64),
        codec: str = "libx264",
        key_every: int = 5,
        pixel_aspect: Fraction = Fraction(1),
        picture: Callable[[int], Picture] | None = None,
        **container_options: str,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        times_s = times_s or [number / 10 for number in range(frames)]
        with av.open(str(path), "w", container_options=container_options) as container:
            options = {"preset": "ultrafast", "crf": "12"} if codec == "libx264" else {}
            stream: Any = container.add_stream(codec, rate=10, options=options)
            stream.width, stream.height = size_wh
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.codec_context.gop_size = key_every
            stream.codec_context.sample_aspect_ratio = pixel_aspect
            if name.endswith(".mp4"):
                stream.codec_context.time_base = Fraction(1, 90000)
            tick_s = stream.codec_context.time_base or Fraction(1, 10)
            for number, time_s in enumerate(times_s):
                image = picture(number) if picture else picture_of(number, width=size_wh[0], height=size_wh[1])
                frame = av.VideoFrame.from_ndarray(image, "rgb24")
                frame.pts, frame.time_base = round(time_s / tick_s), tick_s
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write


@pytest.fixture
def spoil() -> Callable[[Path, int], None]:
    """``spoil(video, number)``: overwrites the data of the picture that is stored at that place."""

    def overwrite(path: Path, number: int) -> None:
        with av.open(str(path)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
            place, size = packets[number].pos, packets[number].size
        assert place is not None
        with path.open("r+b") as file:
            file.seek(place)
            file.write(b"\xff" * size)

    return overwrite


@pytest.fixture
def photo(tmp_path: Path) -> Callable[..., Path]:
    """Writes a PNG, bright with a black block, or what is given."""

    def write(name: str, image: Picture | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if image is None:
            image = np.full((240, 320, 3), 230, np.uint8)
            image[64:128, 96:224] = 0
        data = cv2.imencode(path.suffix, image[:, :, ::-1])[1]
        path.write_bytes(data.tobytes())
        return path

    return write


@pytest.fixture
def faulty_camera() -> Iterator[Callable[..., FaultyCamera]]:
    """A camera on the network that plays the acts given, one for each connection."""
    with ExitStack() as stack:
        yield lambda *acts: stack.enter_context(FaultyCamera(*acts))


@pytest.fixture
def mjpeg_server(faulty_camera: Callable[..., FaultyCamera]) -> Callable[..., FaultyCamera]:
    """A camera on the network that sends so many frames, then stalls or hangs up."""

    def serve(*, frames: int, every_s: float = 0.02, then: str = "stall") -> FaultyCamera:
        after = stall if then == "stall" else None
        return faulty_camera(pictures(frames, every_s=every_s, picture=picture_of, then=after))

    return serve


@pytest.fixture
def scanned() -> Callable[..., tuple[Frame, FrameResult]]:
    """Makes a grey frame of 320x256 with so many crack regions, each of two cells, and what its scan gave."""

    def make(index: int = 0, *, cracks: int = 0, time_s: float | None = None, **more: Any) -> tuple[Frame, FrameResult]:
        image = np.full((256, 320, 3), 128, np.uint8)
        zeros, starts = np.zeros((1, 1), np.float32), np.zeros(1, np.intp)
        scores = ScoreMap(np.zeros((8, 10), np.float32), np.zeros((8, 10), np.float32), zeros, zeros, starts, starts)
        regions = []
        for number in range(cracks):
            (row, col), side = (2 * (number // 4), 2 * (number % 4)), 32
            x0, y0, x1, y1 = col * side, row * side, (col + 2) * side - side // 2, (row + 1) * side
            ring = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
            regions.append(Region((x0, y0, x1, y1), ring, 0.9 - number / 100, ((row, col), (row, col + 1))))
        best = regions[0].score if regions else 0.0
        frame = Frame(image, index, index / 10 if time_s is None else time_s, **more)
        return frame, FrameResult(tuple(regions), scores, best, 320, 256, {"invoke": 1.0})

    return make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts an empty disk of so many kilobytes; skips where that is not allowed."""
    with ExitStack() as stack:

        def mount(*, kilobytes: int) -> Path:
            folder = tmp_path / f"disk-{kilobytes}"
            folder.mkdir()
            options = f"size={kilobytes}k"
            mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
            done = subprocess.run(mount, capture_output=True, check=False)
            if done.returncode:
                pytest.skip("a small disk of one's own takes root, and leave to mount")
            stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
            return folder

        yield mount
