"""A camera on the network that fails as it is told: JPEG pictures over HTTP, on loopback.

Each connection plays the next act of a script, the last one again and again. An act is a function of the wire.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import socket
import socketserver
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.frame import Image

if TYPE_CHECKING:
    from typing import Self

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
_SIZE_WH = (96, 64)
_KNOWN = 4000
_UNLIKE = 40  # mean difference in the worst row from which pictures are not the same: JPEG makes 20, another picture 58


class Wire:
    """One connection to a camera, as an act sees it. What it sends to somebody who has gone raises OSError."""

    def __init__(self, connection: socket.socket, over: threading.Event) -> None:
        self._connection, self._over = connection, over

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._connection.sendall(data)

    def wait(self, seconds: float | None = None) -> bool:
        """Do nothing, for so long or until the camera is closed; whether it still is open."""
        return not self._over.wait(seconds)


Act = Callable[[Wire], None]


def grid(number: int) -> Image:
    """(8, 12, 3) uint8: colours that no other number has."""
    return np.random.default_rng(number).integers(40, 216, (8, 12, 3), np.uint8)


def noise(number: int, *, size_wh: tuple[int, int] = _SIZE_WH) -> Image:
    """(H, W, 3) uint8: a picture unlike all others, its grid enlarged."""
    return np.asarray(cv2.resize(grid(number), size_wh, interpolation=cv2.INTER_LINEAR), np.uint8)


def is_noise(image: Image) -> bool:
    """Whether an image is one of the first some thousand pictures of noise, of any size and from end to end."""
    height, width = image.shape[0] // 8, image.shape[1] // 12
    middles = image[height // 2 :: height, width // 2 :: width][:8, :12].astype(np.int16)
    return bool(np.abs(_grids() - middles).mean((2, 3)).max(1).min() < _UNLIKE)


@functools.cache
def _grids() -> npt.NDArray[np.int16]:
    return np.stack([grid(number) for number in range(_KNOWN)]).astype(np.int16)


def jpeg(image: Image) -> bytes:
    """An RGB image as JPEG."""
    return cv2.imencode(".jpg", image[:, :, ::-1])[1].tobytes()


def part(data: bytes) -> bytes:
    """One picture as the stream has it."""
    return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(data), data)


def pictures(
    count: int | None = None,
    *,
    announced: bool = True,
    every_s: float = 0.02,
    size_wh: tuple[int, int] = _SIZE_WH,
    then: Act | None = None,
    picture: Callable[[int], Image] | None = None,
) -> Act:
    """Pictures, and then whatever ``then`` does; without it, the camera hangs up.

    Args:
        count: how many; without end for None.
        announced: whether they begin with an answer, and not in the middle of another act.
        every_s: seconds between them.
        size_wh: their size in pixels.
        then: what follows, on the same wire.
        picture: makes the RGB picture of a number.
    """

    def act(wire: Wire) -> None:
        if announced:
            announce(wire)
        for number in itertools.count() if count is None else range(count):
            wire.send(part(jpeg(picture(number) if picture else noise(number, size_wh=size_wh))))
            if not wire.wait(every_s):
                return
        if then is not None:
            then(wire)

    return act


def announce(wire: Wire) -> None:
    """Answer, and announce pictures."""
    wire.send(_HEAD)


def stall(wire: Wire) -> None:
    """Send nothing more, and do not hang up either."""
    wire.wait()


def trickle(wire: Wire) -> None:
    """Send a picture byte by byte, so that no time limit between bytes ever passes."""
    data = part(jpeg(noise(0)))
    for place in itertools.count():
        wire.send(data[place % len(data) : place % len(data) + 1] if place < len(data) - 100 else b"x")
        if not wire.wait(0.05):
            return


def endless_header(wire: Wire) -> None:
    """Answer with header lines, and never come to their end."""
    wire.send(b"HTTP/1.1 200 OK\r\n")
    for number in itertools.count():
        wire.send(b"X-Line-%d: nothing\r\n" % number)
        if not wire.wait(0.02):
            return


def garbage(wire: Wire) -> None:
    """Send bytes that are no picture, between two pictures."""
    wire.send(np.random.default_rng(1).bytes(5000))


def damaged_pictures(wire: Wire) -> None:
    """Send pictures with wrong bytes inside, then good ones without end, in the middle of another act."""
    for number in range(10):
        data = bytearray(jpeg(noise(number)))
        data[len(data) // 2 :: 5] = b"\xff" * len(data[len(data) // 2 :: 5])
        wire.send(part(bytes(data)))
        wire.wait(0.01)
    pictures(announced=False)(wire)


def half_picture(wire: Wire) -> None:
    """Announce a picture, send its first half, hang up."""
    data = part(jpeg(noise(0)))
    wire.send(data[: len(data) // 2])


class FaultyCamera:
    """Plays a script, an act for each connection. A context manager.

    Args:
        acts: what the first connection gets, the second, and so on; the last act is for all that follow.

    Attributes:
        url: where it is, with a password.
        connections: how many there were.
    """

    def __init__(self, *acts: Act) -> None:
        self.connections = 0
        self._acts = acts
        self._open: set[socket.socket] = set()
        self._server: socketserver.ThreadingTCPServer | None = None
        self._port = 0
        self.on()
        self.url = f"http://user:pw@127.0.0.1:{self._port}/live.mjpg"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.off()

    def on(self) -> None:
        """Listen, at the same place as before."""
        camera = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                camera._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._over = threading.Event()
        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def off(self) -> None:
        """Hang up and refuse connections."""
        server, self._server = self._server, None
        if server is None:
            return
        self._over.set()
        server.shutdown()
        server.server_close()
        self._thread.join()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _serve(self, connection: socket.socket) -> None:
        act = self._acts[min(self.connections, len(self._acts) - 1)]
        self.connections += 1
        self._open.add(connection)
        try:
            while b"\r\n\r\n" not in connection.recv(65536):
                pass
            act(Wire(connection, self._over))
        except OSError:
            pass  # the reader has gone
        finally:
            self._open.discard(connection)
