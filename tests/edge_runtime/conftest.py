"""Real videos and a real stream, made on the spot."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

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


class MjpegServer:
    """A camera on the network: sends so many frames, then stalls or hangs up."""

    def __init__(self, *, frames: int, every_s: float = 0.02, then: str = "stall") -> None:
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                try:
                    for number in range(frames):
                        jpeg = cv2.imencode(".jpg", picture_of(number)[:, :, ::-1])[1].tobytes()
                        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                        time.sleep(every_s)
                    if then == "stall":
                        server._over.wait(30)
                except OSError:
                    return  # the reader has gone

            def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 - its name

        self._over = threading.Event()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://user:pw@127.0.0.1:{self._server.server_port}/live.mjpg"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def mjpeg_server() -> Iterator[Callable[..., MjpegServer]]:
    servers: list[MjpegServer] = []

    def serve(**options: Any) -> MjpegServer:
        servers.append(MjpegServer(**options))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()
