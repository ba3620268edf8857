"""GStreamer pipelines, and the cameras of a Jetson, read by an OpenCV that was built with GStreamer."""

from __future__ import annotations

import cv2
import numpy as np

from crackedge.edge_runtime.errors import LiveSourceError, MissingExtraError
from crackedge.edge_runtime.sources.addresses import Address, without_secrets
from crackedge.edge_runtime.sources.reader import Picture
from crackedge.edge_runtime.sources.source import SourceOptions

_SINK = "appsink drop=true max-buffers=1 sync=false"
_TO_SINK = f"videoconvert ! video/x-raw,format=BGR ! {_SINK}"
_SIZE_WH = (1280, 720)
_FPS = 30


def require_gstreamer(uri: str) -> None:
    """Raise a MissingExtraError, with the source's URI, where this OpenCV has no GStreamer."""
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise MissingExtraError(
            f"{uri}: this OpenCV {cv2.__version__} was built without GStreamer, as all from PyPI are; use the "
            "board's own (JetPack has it; Debian: apt install python3-opencv) in place of the package from PyPI"
        )


def pipeline_of(address: Address, options: SourceOptions) -> str:
    """The whole pipeline in GStreamer's words: what is missing at the end of one that was given is added.

    Args:
        address: ``gst:PIPELINE`` or ``csi://NUMBER``.
        options: size and rate to ask a camera for.
    """
    if address.scheme == "gst":
        given = address.text.partition(":")[2].strip()
        return given if "appsink" in given else f"{given} ! {_TO_SINK}"
    width, height = options.size_wh or _SIZE_WH
    number = address.text.rpartition("/")[2]
    return (
        f"nvarguscamerasrc sensor-id={number} ! "
        f"video/x-raw(memory:NVMM),width={width},height={height},framerate={round(options.fps or _FPS)}/1 ! "
        f"nvvidconv ! video/x-raw,format=BGRx ! {_TO_SINK}"
    )


class GstreamerCapture:
    """A pipeline as a :class:`crackedge.edge_runtime.sources.reader.Capture`.

    Raises:
        LiveSourceError: the pipeline does not start.
    """

    def __init__(self, pipeline: str) -> None:
        self._capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
        if not self._capture.isOpened():
            self.close()
            raise LiveSourceError(
                f"{without_secrets(f'gst:{pipeline}')}: it does not start; try it with gst-launch-1.0, which says why"
            )
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps: float | None = rate if rate > 0 else None
        self.width: int | None = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)) or None
        self.height: int | None = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)) or None

    def grab(self) -> Picture | None:
        """The next picture.

        Raises:
            ConnectionError: the pipeline ended.
        """
        there, picture = self._capture.read()
        if not there:
            raise ConnectionError("the pipeline ended")
        return lambda: np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)

    def close(self) -> None:
        """Let go of the pipeline. May be called again."""
        self._capture.release()
