"""Decoding: pictures of a video stream, by FFmpeg, as upright RGB images."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import av
import av.error
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from crackedge.edge_runtime.frame import Image

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from typing_extensions import Buffer

# PyAV 19 always replaces what is no UTF-8, and no longer takes the option.
_METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


def reason_of(error: av.error.FFmpegError) -> str:
    """What went wrong, in FFmpeg's words but without its numbers and the URL, which may hold a password."""
    if isinstance(error, av.error.InvalidDataError):
        return "not a video, or damaged"
    return str(error.strerror or type(error).__name__)


def open_input(source: Any, *, form: str | None, settings: dict[str, str], **options: Any) -> InputContainer:
    """A file or stream, opened by FFmpeg; metadata that is no UTF-8 is no reason to refuse it.

    Args:
        source: what ``av.open`` reads: a path, a URL, or an object with ``read``.
        form: FFmpeg's name of the container; None: by its content.
        settings: FFmpeg's options.
        options: more for ``av.open``.

    Raises:
        FFmpegError: it cannot be opened.
    """
    container: InputContainer = av.open(source, mode="r", format=form, options=settings, **_METADATA, **options)
    return container


def video_stream(container: InputContainer) -> VideoStream | None:
    """The main video of a file or stream."""
    stream = container.streams.best("video")
    return stream if isinstance(stream, VideoStream) else None


def decode(stream: VideoStream, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
    """Pictures that a packet completes; those that the decoder still holds, for None or the last, empty packet.

    Raises:
        FFmpegError: the packet is damaged.
    """
    try:
        return stream.codec_context.decode(packet)
    except av.error.EOFError:
        return []  # it was emptied before


def pixel_aspect(stream: VideoStream) -> Fraction:
    """Width of a stored pixel to its height; 1 where nothing sensible is said of it."""
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return Fraction(aspect) if aspect and aspect > 0 else Fraction(1)


class UprightRgb:
    """Makes (H, W, 3) uint8 RGB images of the decoded pictures of one stream, upright by its display matrix.

    The converter is kept, because a new one for each picture takes four times as long. The matrix is looked up for the
    first picture, and where the size changes, and on a small copy: a picture whose side data was asked for and PyAV's
    object for them hold each other until Python's collector comes by, and 1080p pictures fill some 600 MB until then.

    Attributes:
        is_transposed: whether rows of the last picture became columns.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._size_wh = (0, 0)
        self.is_transposed = self._flips_x = self._flips_y = False

    def __call__(self, picture: VideoFrame) -> Image:
        """The image of a picture of any pixel format; with the matrix and range that it is tagged with, or BT.601."""
        if (picture.width, picture.height) != self._size_wh:
            self._size_wh = picture.width, picture.height
            self._look_up(picture)
        image = np.ascontiguousarray(self._reformatter.reformat(picture, format="rgb24").to_ndarray(), np.uint8)
        if self.is_transposed:
            image = np.asarray(cv2.transpose(image), np.uint8)
        if self._flips_x or self._flips_y:
            image = np.asarray(cv2.flip(image, -1 if self._flips_x and self._flips_y else int(self._flips_x)), np.uint8)
        return image

    def _look_up(self, picture: VideoFrame) -> None:
        self.is_transposed = self._flips_x = self._flips_y = False
        side_data = picture.reformat(16, 16).side_data.get("DISPLAYMATRIX")
        if side_data is None:
            return
        # Row-major 3x3 fixed point, acting on row vectors: x' = a x + c y, y' = b x + d y.
        a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(cast("Buffer", side_data)), np.int32, 5))
        self.is_transposed = abs(b) > abs(a)
        self._flips_x, self._flips_y = (c < 0, b < 0) if self.is_transposed else (a < 0, d < 0)
