"""Cameras of a Raspberry Pi, read by picamera2, which comes with Raspberry Pi OS."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from crackedge.edge_runtime.errors import LiveSourceError, MissingExtraError
from crackedge.edge_runtime.sources.reader import Picture
from crackedge.edge_runtime.sources.source import SourceOptions

_SIZE_WH = (1280, 720)
_RGB = "BGR888"  # picamera2 names formats by their bytes from the highest down: this one is R, G, B in memory


def find_driver(uri: str) -> Any:
    """The class of picamera2 that cameras are made of.

    Args:
        uri: of the source, for the message.

    Raises:
        MissingExtraError: picamera2 is not installed.
    """
    try:
        return importlib.import_module("picamera2").Picamera2
    except ImportError as error:
        raise MissingExtraError(
            f"{uri}: picamera2 is not there ({error}); on Raspberry Pi OS: sudo apt install python3-picamera2, "
            "and a virtual environment made with --system-site-packages"
        ) from error


class PicameraCapture:
    """A Raspberry Pi's camera as a :class:`crackedge.edge_runtime.sources.reader.Capture`.

    Args:
        driver: picamera2's class.
        number: of the camera.
        options: size and rate to ask for.

    Raises:
        LiveSourceError: there is no such camera, or it is in use.
    """

    def __init__(self, driver: Any, number: int, options: SourceOptions) -> None:
        there = [str(camera.get("Model", "?")) for camera in driver.global_camera_info()]
        if number >= len(there):
            raise LiveSourceError(
                f"picamera://{number}: no such camera (found: {', '.join(there) or 'none'}); check its cable, "
                "or give another number"
            )
        try:
            self._camera = driver(number)
        except RuntimeError as error:
            raise LiveSourceError(f"picamera://{number}: cannot be used ({error}); it may be in use") from error
        try:
            configuration = self._camera.create_video_configuration(
                main={"format": _RGB, "size": options.size_wh or _SIZE_WH},
                controls={"FrameRate": options.fps} if options.fps else {},
            )
            self._camera.configure(configuration)
            self._camera.start()
        except BaseException:
            self._camera.close()
            raise
        width, height = self._camera.camera_configuration()["main"]["size"]  # what it made of the size asked for
        self.width: int | None = width
        self.height: int | None = height
        self.fps: float | None = options.fps

    def grab(self) -> Picture | None:
        """The next picture."""
        picture = self._camera.capture_array("main")
        return lambda: np.ascontiguousarray(picture, np.uint8)

    def close(self) -> None:
        """Let go of the camera. May be called again."""
        self._camera.close()
