"""Network streams and named pipes, read by FFmpeg."""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import av
import av.error

from crackedge.edge_runtime.sources.decoding import UprightRgb, decode, open_input, reason_of, video_stream
from crackedge.edge_runtime.sources.pipe import ffmpeg_input
from crackedge.edge_runtime.sources.reader import Picture
from crackedge.edge_runtime.sources.source import SourceOptions

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame

_FIRST_WITHIN = 1000  # packets; whoever sends as many without a picture has none
_GRACE_S = 1.0  # the reader's deadlines come first and say more; FFmpeg's end a thread that was left behind


class StreamCapture:
    """A stream as a :class:`crackedge.edge_runtime.sources.reader.Capture`. It is open when its first picture is there.

    Raises:
        ConnectionError: it cannot be opened, or gives no picture.
    """

    def __init__(self, url: str, options: SourceOptions) -> None:
        # Not PyAV's `timeout`: it asks Python for the time ten times a second while it waits, and a thread that is left
        # behind would bring the process down at its end, when there is no Python any more.
        silence_us = str(round((max(options.open_s, options.read_s) + _GRACE_S) * 1e6))
        settings = {
            "rw_timeout": silence_us,  # of HTTP and the like
            "timeout": silence_us,  # of RTSP and UDP
            "probesize": "500000",  # FFmpeg's own 5 MB and 5 s are many seconds of a slow camera
            "analyzeduration": "500000",
            "fpsprobesize": "0",
            "rtsp_flags": "prefer_tcp",  # UDP loses packets on the radio links that robots have
            "overrun_nonfatal": "1",  # a UDP buffer that is full drops data instead of ending
        }
        url, form, more = ffmpeg_input(url, options.raw, fps=options.fps)
        settings |= more
        try:
            self._container: InputContainer = open_input(url, form=form, settings=settings)
        except av.error.FFmpegError as error:
            raise ConnectionError(reason_of(error)) from error
        stream = video_stream(self._container)
        if stream is None:
            self._container.close()
            raise ConnectionError("no video in it")
        stream.thread_type = "SLICE"  # threads by frame give every picture later
        self._stream = stream
        self._to_rgb = UprightRgb()
        self._is_intra_only = stream.codec_context.codec.intra_only
        if self._is_intra_only:  # a decoder fills what is missing of a picture with something, unless told not to
            stream.codec_context.options = {"err_detect": "explode"}
        self._pictures: Iterator[VideoFrame | None] = self._decode()
        # It may be many seconds away, at the next key frame: part of opening.
        first = next((picture for picture in itertools.islice(self._pictures, _FIRST_WITHIN) if picture), None)
        if first is None:
            self._container.close()
            raise ConnectionError("not one whole picture in it")
        self._pictures = itertools.chain([first], self._pictures)
        rate = stream.average_rate
        self.fps: float | None = float(rate) if rate else None
        self.width: int | None = None  # as displayed: the display matrix comes with the pictures
        self.height: int | None = None

    def grab(self) -> Picture | None:
        """The next picture; None for one that is damaged.

        Raises:
            EOFError: the stream ended.
            ConnectionError: it was lost.
        """
        for picture in self._pictures:
            return None if picture is None else functools.partial(self._to_rgb, picture)
        raise EOFError

    def close(self) -> None:
        """Close the connection, and let go of the decoder and its threads. May be called again."""
        self._pictures = iter(())
        self._container.close()

    def _decode(self) -> Iterator[VideoFrame | None]:
        """The pictures, and None for each packet that gives none."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                ended = error.errno == errno.EIO  # FFmpeg's word for a server that hangs up in the middle
                raise ConnectionError("the stream ended" if ended else reason_of(error)) from error
            if packet is None:
                return
            pictures: list[VideoFrame] = []
            if not (packet.is_corrupt and self._is_intra_only):  # one that is cut off
                with contextlib.suppress(av.error.FFmpegError):  # damaged on the way; the next key frame mends it
                    pictures = decode(self._stream, packet)
            whole: list[VideoFrame | None] = [picture for picture in pictures if not picture.is_corrupt]
            yield from whole or [None]
