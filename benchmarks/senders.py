"""Senders in processes of their own, which can be killed: MPEG-TS over UDP by PyAV, RTSP by Debian's GStreamer."""

from __future__ import annotations

import contextlib
import functools
import io
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from crackedge.benchmarks.faulty_camera import noise

FPS = 20
_LOOK_S = 0.05
_SYSTEM_PYTHON = "/usr/bin/python3"  # the one that Debian's bindings of GStreamer are for
RTSP_PACKAGES = (
    "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-ugly"
)
_RTSP_SERVER = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
port, width, height, fps = sys.argv[1:]
Gst.init(None)
server = GstRtspServer.RTSPServer.new()
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory.new()
factory.set_launch(
    "( videotestsrc is-live=true pattern=snow "
    f"! video/x-raw,format=I420,width={width},height={height},framerate={fps}/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=5 ! rtph264pay name=pay0 )"
)
factory.set_shared(True)
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
GLib.MainLoop().run()
"""


class Sender:
    """A process that sends pictures. A context manager; at its end the process is killed.

    Args:
        command: what to run; may use anything but standard input.
    """

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """It does nothing inside the ``with`` block, and keeps its connections."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


def udp_sender(port: int, *, size_wh: tuple[int, int]) -> Sender:
    """MPEG-TS to a port of this machine."""
    call = f"from crackedge.benchmarks.senders import send_udp; send_udp({port}, {size_wh})"
    return Sender([sys.executable, "-c", call])


def rtsp_sender(port: int, *, size_wh: tuple[int, int]) -> Sender:
    """An RTSP server that answers by now, at ``rtsp://127.0.0.1:PORT/live``.

    Raises:
        TimeoutError: it does not.
    """
    sender = Sender([_SYSTEM_PYTHON, "-c", _RTSP_SERVER, str(port), *map(str, size_wh), str(FPS)])
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return sender
        time.sleep(_LOOK_S)
    sender.kill()
    raise TimeoutError(f"port {port}: no RTSP server after 20 s")


@functools.cache
def has_rtsp() -> bool:
    """Whether Debian's RTSP server is installed: ``RTSP_PACKAGES``."""
    look = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer; "
        "Gst.init(None); assert all(map(Gst.ElementFactory.find, ('videotestsrc', 'x264enc', 'rtph264pay')))"
    )
    if not Path(_SYSTEM_PYTHON).exists():
        return False
    return subprocess.run([_SYSTEM_PYTHON, "-c", look], capture_output=True, check=False).returncode == 0  # noqa: S603


def send_udp(port: int, size_wh: tuple[int, int]) -> None:
    """Send until killed."""
    url = f"udp://127.0.0.1:{port}?pkt_size=1316"
    start_s = time.monotonic()
    for number in _encode(url, size_wh=size_wh):
        time.sleep(max(0.0, start_s + number / FPS - time.monotonic()))


def transport_stream(frames: int, *, size_wh: tuple[int, int]) -> bytes:
    """So many pictures as MPEG-TS."""
    file = io.BytesIO()
    for number in _encode(file, size_wh=size_wh):
        if number == frames:
            break
    return file.getvalue()


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _encode(target: Any, *, size_wh: tuple[int, int]) -> Iterator[int]:
    """Encode without end; gives the number of each picture that has gone out."""
    with av.open(target, "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "tune": "zerolatency"})
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 5
        number = 0
        while True:
            frame = av.VideoFrame.from_ndarray(noise(number, size_wh=size_wh), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
            number += 1
            yield number
