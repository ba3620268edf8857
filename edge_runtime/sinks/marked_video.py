"""The marked video: H.264 in an MP4 file that plays whenever the run ended, and however."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import time
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import av
import av.error
import cv2
import numpy as np
from av.video.frame import PictureType, VideoFrame

from crackedge.edge_runtime.errors import OptionError, OutputError
from crackedge.edge_runtime.frame import Frame, Image
from crackedge.edge_runtime.output_file import as_output_error
from crackedge.edge_runtime.records import Record
from crackedge.edge_runtime.scan.coverage import worth_marking
from crackedge.edge_runtime.scan.scanner import FrameResult
from crackedge.edge_runtime.sinks.marking import marked

if TYPE_CHECKING:
    from typing import Self

    from av.container import OutputContainer
    from av.video.stream import VideoStream

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")

_TICKS_HZ = 90_000  # of the marked video: all usual rates are whole numbers of it
_KEY_S = 0.5  # between key frames; what is after the last one dies with the process
_GUESSED_FPS = 30.0
# Fragments while the run lasts, so that a killed one leaves a file that plays. "hybrid": an ordinary MP4 with an index
# after a clean end; that of an hour at 30 frames per second takes some 9 MB of memory until then. Before FFmpeg 8.1 it
# spoils the file when the disk is full at the end. "delay_moov": a video that begins later than 0 does so here.
HYBRID = av.library_versions["libavformat"] >= (62, 12, 0)
MP4_OPTIONS = {
    "movflags": f"{'hybrid_fragmented' if HYBRID else 'frag_keyframe'}+delay_moov+default_base_moof",
    "movie_timescale": str(_TICKS_HZ),
    "flush_packets": "1",
}


class VideoSink:
    """``marked.mp4``: the frames with their cracks marked, as H.264, at the source's own size and time stamps.

    Odd sizes get one more row or column. Where the frames change size, ``marked-2.mp4`` and so on follow. A killed
    process loses at most the last half second.

    Args:
        path: the file; replaced.
        fps: nominal frames per second of the source, where known.
        preset: one of :data:`PRESETS`.
        crf: quality of x264, 0 (lossless) to 51.
        begin_s: position in the source, seconds, at which the marked video begins.

    Attributes:
        timing_ms: of the last frame: ``mark`` (drawing) and ``encode``.
        files: begun so far.

    Raises:
        OptionError: there is no such preset.
    """

    def __init__(
        self,
        path: Path,
        *,
        fps: float | None = None,
        preset: str = "ultrafast",
        crf: int = 23,
        begin_s: float = 0.0,
    ) -> None:
        if preset not in PRESETS:
            raise OptionError(f"preset {preset!r}: expected one of {', '.join(PRESETS)}")
        self.name = path.name
        self._path, self._fps, self._preset, self._crf = path, fps or _GUESSED_FPS, preset, crf
        self._begin_s = begin_s
        self.timing_ms: dict[str, float] = {}
        self.files: list[Path] = []
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._size_wh = (0, 0)
        self._last_tick = -1
        self._next_key_tick = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OutputError):  # whoever wants to know has called finish()
            self.finish()

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Mark and encode a frame, unless time is so short that it is passed over; see :class:`Sink`."""
        if not worth_marking(result.coverage, frame.index):
            return
        started = time.perf_counter()
        picture = marked(frame.image, result.regions)
        drawn = time.perf_counter()
        with as_output_error(self._path, av.error.FFmpegError):
            tick = round((frame.time_s - self._begin_s) * _TICKS_HZ)
            self._encode(_i420(picture), tick, pixel_aspect=frame.pixel_aspect)
        self.timing_ms = {"mark": (drawn - started) * 1e3, "encode": (time.perf_counter() - drawn) * 1e3}

    def note(self, record: Record) -> None:
        """Only frames can be seen."""

    def finish(self) -> None:
        """Write what the encoder holds back and close the file; see :class:`Sink`."""
        container, stream = self._container, self._stream
        self._container = self._stream = None
        if container is None or stream is None:
            return
        with as_output_error(self._path, av.error.FFmpegError):
            try:
                container.mux(stream.encode(None))
                container.close()
                _check_whole(Path(container.name))
            except BaseException:
                self._rescue(container)
                raise

    def _encode(self, planes: Image, tick: int, *, pixel_aspect: Fraction) -> None:
        size_wh = (planes.shape[1], planes.shape[0] * 2 // 3)
        tick = max(tick, self._last_tick + 1)  # encoders take no stamp twice
        if self._container is None or size_wh != self._size_wh:
            self.finish()
            self._open(size_wh, pixel_aspect)
        assert self._container is not None
        assert self._stream is not None
        picture = VideoFrame.from_ndarray(planes, "yuv420p")
        picture.pts = self._last_tick = tick
        picture.time_base = Fraction(1, _TICKS_HZ)
        if tick >= self._next_key_tick:
            if self._next_key_tick and not Path(self._container.name).exists():  # it is made with the first picture
                raise OSError(errno.ENOENT, "it was removed meanwhile")
            picture.pict_type = PictureType.I
            self._next_key_tick = tick + round(_KEY_S * _TICKS_HZ)
        try:
            self._container.mux(self._stream.encode(picture))
        except BaseException:
            self._rescue(self._container)
            self._container = self._stream = None
            raise

    def _open(self, size_wh: tuple[int, int], pixel_aspect: Fraction) -> None:
        path = numbered(self._path, len(self.files) + 1)
        self.files.append(path)
        container = av.open(str(path), mode="w", format="mp4", container_options=MP4_OPTIONS)
        try:
            stream = container.add_stream(
                "libx264",
                rate=Fraction(self._fps).limit_denominator(1001),
                options={
                    "preset": self._preset,
                    "crf": str(self._crf),
                    "tune": "zerolatency",  # each picture is in the file before the next is taken
                    "forced-idr": "1",
                },
            )
            stream.width, stream.height = size_wh
            stream.pix_fmt = "yuv420p"
            context = stream.codec_context
            context.sample_aspect_ratio = pixel_aspect
            context.time_base = stream.time_base = Fraction(1, _TICKS_HZ)
            context.gop_size = 100_000  # key frames by time, whatever the rate
            context.colorspace, context.color_range = 6, 1  # what OpenCV makes: BT.601, studio range
            context.color_primaries = context.color_trc = 1  # and what cameras see: BT.709
        except BaseException:
            container.close()
            raise
        self._container, self._stream, self._size_wh = container, stream, size_wh
        self._next_key_tick = 0

    def _rescue(self, container: OutputContainer) -> None:
        """Close a file that could not be written to its end, and cut off what is not whole."""
        with contextlib.suppress(av.error.FFmpegError, OSError):
            container.close()
        with contextlib.suppress(OSError):
            os.truncate(container.name, whole_length(Path(container.name)))


def numbered(path: Path, number: int) -> Path:
    """``marked.mp4``, ``marked-2.mp4`` and so on."""
    return path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


def whole_length(path: Path) -> int:
    """Length in bytes of the part of a fragmented MP4 file that is whole: up to the end of its last full fragment.

    Raises:
        OSError: the file cannot be read.
    """
    size, whole, start = path.stat().st_size, 0, 0
    with path.open("rb") as file:
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if length == 1:  # a longer one follows
                length = int.from_bytes(file.read(8), "big")
            start += length
            if length < 8 or start > size:
                break
            if kind != b"moof":  # which is nothing without the data after it
                whole = start
            file.seek(start)
    return whole


def _check_whole(path: Path) -> None:
    """Older FFmpegs do not tell when the end of a file could not be written."""
    size = path.stat().st_size
    if size == 0 or whole_length(path) != size:
        raise OutputError(f"{path}: cannot be written (its end is missing); check the disk and the folder")


def _i420(image: Image) -> Image:
    """(H * 3 / 2, W) uint8 planes Y, U, V of an RGB picture, odd sizes padded by their last row or column."""
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = np.asarray(cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420), np.uint8)  # ten times faster than FFmpeg's
