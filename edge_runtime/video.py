"""Video files as a source: every frame with its own time stamp, upright, up to where the file is whole."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, cast

import av
import av.error
import cv2
import numpy as np
from av.video.stream import VideoStream

from crackedge.edge_runtime.errors import SourceError
from crackedge.edge_runtime.frame import Frame, Image
from crackedge.edge_runtime.sources import Address, Gap, Kind, Skipped, SourceOptions

if TYPE_CHECKING:
    from typing import Self

    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from typing_extensions import Buffer

_GUESSED_FPS = 25.0  # of files without time stamps, where FFmpeg guesses the same
_MOST_REORDERED = 16  # pictures that a decoder holds back, and so gives after damaged data that came later
_SHORT_S = 1.0  # a file that ends by this much before its declared end is reported


def reason_of(error: av.error.FFmpegError) -> str:
    """What went wrong, in FFmpeg's words but without its numbers and the URL, which may hold a password."""
    if isinstance(error, av.error.ExitError):
        return "no answer in time"
    if isinstance(error, av.error.InvalidDataError):
        return "not a video, or damaged"
    return str(error.strerror or type(error).__name__)


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


def upright_rgb(picture: VideoFrame) -> Image:
    """(H, W, 3) uint8 RGB of a decoded picture, turned and mirrored as its display matrix says."""
    image = np.ascontiguousarray(picture.to_ndarray(format="rgb24"), np.uint8)
    side_data = picture.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return image
    # Row-major 3x3 fixed point, acting on row vectors: x' = a x + c y, y' = b x + d y.
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(cast("Buffer", side_data)), np.int32, 5))
    if abs(b) > abs(a):
        image = np.asarray(cv2.transpose(image), np.uint8)
        flip_x, flip_y = c < 0, b < 0
    else:
        flip_x, flip_y = a < 0, d < 0
    if flip_x or flip_y:
        image = np.asarray(cv2.flip(image, -1 if flip_x and flip_y else int(flip_x)), np.uint8)
    return image


class VideoFile:
    """A video file, or one behind a URL, as a source of every frame.

    Frames keep their time stamps, whatever the nominal rate. Damaged data and an early end are gaps; the frames
    around them are given.

    Raises:
        SourceError: the file is missing or no video; while iterating: not one frame could be decoded.
    """

    kind: Kind = "video"
    live = False

    def __init__(self, address: Address, options: SourceOptions) -> None:
        self.uri = address.uri
        self.name = address.name
        self.skipped: list[Skipped] = []
        self.gaps: list[Gap] = []
        remote = not address.paths
        self._read_s = options.read_s
        try:
            self._container: InputContainer = av.open(
                address.text,
                mode="r",
                metadata_errors="replace",
                timeout=(options.open_s, options.read_s) if remote else None,
            )
        except av.error.FFmpegError as error:
            raise SourceError(
                f"{self.uri}: cannot be opened ({reason_of(error)}); check that it plays, and copy or convert it again"
            ) from error
        stream = video_stream(self._container)
        if stream is None:
            self._container.close()
            raise SourceError(f"{self.uri}: no video in it; expected a file with a video stream")
        self._stream = stream
        # Threads by frame lose good pictures at damaged data and hide where it was; decoding is not what is slow here.
        stream.thread_type = "SLICE"
        rate = stream.average_rate or stream.guessed_rate
        self.fps: float | None = float(rate) if rate else None
        self.width: int | None = None  # the display matrix, which may swap them, comes with the first frame
        self.height: int | None = None
        self.frame_count = self._estimated_frames()

    def _estimated_frames(self) -> int | None:
        if self._stream.frames > 0:
            return int(self._stream.frames)
        duration_s = self._container.duration / av.time_base if self._container.duration else 0.0
        return round(duration_s * self.fps) if duration_s > 0 and self.fps else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """Every frame that can be decoded.

        Raises:
            SourceError: there is not one.
        """
        tick_s = self._stream.time_base or Fraction(1, 90000)
        start = round(Fraction(self._container.start_time or 0, av.time_base) / tick_s)  # as players count
        step_s = 1 / (self.fps or _GUESSED_FPS)
        index, time_s = 0, -step_s
        lost, lost_at = "", 0
        for picture in self._pictures():
            if isinstance(picture, str):
                lost, lost_at = picture, index
                continue
            before_s = max(time_s, 0.0)
            time_s = float((picture.pts - start) * tick_s) if picture.pts is not None else time_s + step_s
            missing = time_s - before_s > 1.5 * step_s
            if lost and (missing or index - lost_at > _MOST_REORDERED):
                self.gaps.append(Gap(lost, index, before_s, time_s - before_s if missing else None))
                lost = ""
            yield Frame(upright_rgb(picture), index, time_s)
            index += 1
        if index == 0:
            raise SourceError(f"{self.uri}: not one frame in it ({lost or 'it is empty'}); record or copy it again")
        missing_s = self._declared_s() - (time_s + step_s)
        if missing_s > _SHORT_S:
            self.gaps.append(Gap(lost or "the file ends before its declared end", index, time_s, missing_s))
        elif lost:
            self.gaps.append(Gap(lost, index, time_s))

    def _declared_s(self) -> float:
        if self._stream.duration is None or self._stream.time_base is None:
            return 0.0
        return float(self._stream.duration * self._stream.time_base)

    def _pictures(self) -> Iterator[VideoFrame | str]:
        """Decoded pictures, and in words what was lost between them."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                waited = f"no data for {self._read_s:g} s" if isinstance(error, av.error.ExitError) else ""
                yield waited or f"the file cannot be read any further ({reason_of(error)})"
                packets, packet = iter(()), None
            try:
                yield from decode(self._stream, packet)
            except av.error.FFmpegError:
                yield "damaged data"
            if packet is None:
                return
