"""Cameras of this machine, read by OpenCV."""

from __future__ import annotations

import functools
import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crackedge.edge_runtime.errors import LiveSourceError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.sources.addresses import in_order
from crackedge.edge_runtime.sources.reader import Picture
from crackedge.edge_runtime.sources.source import SourceOptions

_SILENT = 0
_AGAIN_S = 0.02  # before a camera that gave nothing is asked again


class CameraCapture:
    """A camera as a :class:`crackedge.edge_runtime.sources.reader.Capture`.

    Args:
        device: a number, or a path such as ``/dev/video0``.
        options: size and rate to ask for; it gives what it can.

    Raises:
        LiveSourceError: there is no such camera, it may not be used, or it gives no pictures.
    """

    def __init__(self, device: str, options: SourceOptions | None = None) -> None:
        is_linux = sys.platform.startswith("linux")
        number = _number(device)
        path = Path(f"/dev/video{number}") if number is not None else Path(device)
        if is_linux:
            _check_device(path)
        self._is_quiet = True
        _quiet.begin()
        backend = cv2.CAP_V4L2 if is_linux else cv2.CAP_ANY
        self._camera: Any = cv2.VideoCapture(device if number is None else number, backend)
        if not self._camera.isOpened():
            self.close()
            raise LiveSourceError(
                f"{path if is_linux else device}: it is there but does not open as a camera; it may be in use, or give "
                f"no pictures (many cameras have two devices; found: {_found()})"
            )
        self._camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # old frames are of no use; drivers that cannot, ignore it
        self._ask(options or SourceOptions())
        rate = self._camera.get(cv2.CAP_PROP_FPS)
        self.fps: float | None = rate if rate > 0 else None
        self.width: int | None = int(self._camera.get(cv2.CAP_PROP_FRAME_WIDTH)) or None
        self.height: int | None = int(self._camera.get(cv2.CAP_PROP_FRAME_HEIGHT)) or None

    def _ask(self, options: SourceOptions) -> None:
        if options.size_wh is not None:
            # Uncompressed, no more than 640x480 goes through USB 2 at a full rate; cameras that cannot, ignore it.
            self._camera.set(cv2.CAP_PROP_FOURCC, float(cv2.VideoWriter.fourcc(*"MJPG")))
            self._camera.set(cv2.CAP_PROP_FRAME_WIDTH, options.size_wh[0])
            self._camera.set(cv2.CAP_PROP_FRAME_HEIGHT, options.size_wh[1])
        if options.fps is not None:
            self._camera.set(cv2.CAP_PROP_FPS, options.fps)

    def grab(self) -> Picture | None:
        """The next picture; None where the camera gave none, which unplugged ones do at once and for ever.

        Raises:
            ConnectionError: its driver or OpenCV failed.
        """
        try:
            there, picture = self._camera.read()
        except cv2.error as error:
            raise ConnectionError(f"OpenCV cannot read it ({' '.join(str(error).split())})") from error
        if not there or picture is None or not picture.size:
            time.sleep(_AGAIN_S)
            return None
        return functools.partial(_rgb, picture)

    def close(self) -> None:
        """Let go of the camera. May be called again."""
        self._camera.release()
        if self._is_quiet:
            self._is_quiet = False
            _quiet.end()


class _Quiet:
    """OpenCV prints nothing while any camera is open: what it would print, the errors say. For any thread.

    Cameras count, because one that is stuck may be closed after the next one was opened.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cameras = 0
        self._level_before = _SILENT

    def begin(self) -> None:
        with self._lock:
            self._cameras += 1
            if self._cameras == 1:
                self._level_before = _set_log_level(_SILENT)

    def end(self) -> None:
        with self._lock:
            self._cameras -= 1
            if self._cameras == 0:
                _set_log_level(self._level_before)


def _set_log_level(level: int) -> int:
    """Set how much OpenCV prints to stderr, and return what it was."""
    logging: Any = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2  # OpenCV 5, OpenCV 4
    before = int(logging.getLogLevel())
    logging.setLogLevel(level)
    return before


_quiet = _Quiet()


def _rgb(picture: Any) -> Image:
    code = cv2.COLOR_GRAY2RGB if picture.ndim == 2 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(picture, code), np.uint8)


def _number(device: str) -> int | None:
    """The number that OpenCV knows a device by; links such as those in /dev/v4l/by-id are followed."""
    name = device if device.isdecimal() else os.path.realpath(device)
    match = re.fullmatch(r"(?:/dev/video)?(\d+)", name)
    return int(match.group(1)) if match else None


def _check_device(path: Path) -> None:
    if not path.exists():
        raise LiveSourceError(f"{path}: no such camera (found: {_found()}); connect it, or give another number")
    if not os.access(path, os.R_OK | os.W_OK):
        raise LiveSourceError(
            f"{path}: no permission to use it; add this user to its group (sudo usermod -aG video $USER), log in again"
        )


def _found() -> str:
    return ", ".join(in_order([str(path) for path in Path("/dev").glob("video*")])) or "none"
