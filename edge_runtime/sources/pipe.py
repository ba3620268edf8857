"""Pipes: stdin and named pipes, read without a wait that nobody can end, and frames without a container."""

from __future__ import annotations

import contextlib
import os
import re
import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from crackedge.edge_runtime.errors import OptionError, SourceError
from crackedge.edge_runtime.sources.addresses import STDIN
from crackedge.edge_runtime.stop import LOOK_S

PixelFormat = Literal["bgr24", "rgb24", "gray", "yuv420p", "nv12"]
PIXEL_FORMATS: tuple[PixelFormat, ...] = get_args(PixelFormat)

_MOST_PX = 16384  # of a side


@dataclass(frozen=True, slots=True)
class RawVideo:
    """Frames one after the other, with nothing between them that says what they are.

    Attributes:
        width: in pixels.
        height: in pixels.
        pixel_format: in FFmpeg's words.

    Raises:
        OptionError: there is no such video.
    """

    width: int
    height: int
    pixel_format: PixelFormat = "bgr24"

    def __post_init__(self) -> None:
        if not (1 <= self.width <= _MOST_PX and 1 <= self.height <= _MOST_PX):
            raise OptionError(f"raw frames of {self.width}x{self.height}: expected 1 to {_MOST_PX} pixels each way")
        if self.pixel_format not in PIXEL_FORMATS:
            raise OptionError(f"raw frames in {self.pixel_format!r}: expected one of {', '.join(PIXEL_FORMATS)}")


def parse_raw(text: str) -> RawVideo:
    """``WIDTHxHEIGHT`` or ``WIDTHxHEIGHT:FORMAT``; bgr24 is what OpenCV holds.

    Raises:
        OptionError: it is something else.
    """
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})(?::(\w+))?", text)
    if match is None:
        raise OptionError(f"raw frames {text!r}: expected WIDTHxHEIGHT:FORMAT, such as 640x480:bgr24")
    return RawVideo(int(match[1]), int(match[2]), match[3] or "bgr24")  # type: ignore[arg-type]  # checked there


def ffmpeg_input(
    text: str, raw: RawVideo | None, *, fps: float | None = None
) -> tuple[str, str | None, dict[str, str]]:
    """What FFmpeg is to open: URL, format (None: to be recognised) and options.

    Args:
        text: of the address.
        raw: what is in it, where it does not say so itself.
        fps: frames per second of raw frames.
    """
    url = "pipe:0" if text == STDIN else text
    if raw is None:
        return url, None, {}
    options = {"video_size": f"{raw.width}x{raw.height}", "pixel_format": raw.pixel_format}
    return url, "rawvideo", options | ({"framerate": f"{fps:.6f}"} if fps else {})


def check_stdin() -> None:
    """Refuse a stdin on which no video can come.

    Raises:
        OptionError: it is a terminal, or closed.
    """
    try:
        is_terminal = os.isatty(0)
        os.fstat(0)
    except OSError as error:
        raise OptionError(f"{STDIN}: stdin is closed; pipe a video into it") from error
    if is_terminal:
        raise OptionError(f"{STDIN}: stdin is a terminal; pipe a video into it, as ffmpeg ... -f mjpeg - does")


class PipeReader:
    """A pipe as a file object for PyAV: ends when it is told to stop, or when nothing comes for too long.

    Args:
        text: a named pipe's path, or ``-``.
        first_s: how long to wait for the first bytes, seconds.
        read_s: how long to wait for the next ones.
        stop: asked now and then while waiting.

    Attributes:
        late: in words, what did not come in time.

    Raises:
        SourceError: there is no such pipe, or it may not be read.
    """

    def __init__(self, text: str, *, first_s: float, read_s: float, stop: Callable[[], bool]) -> None:
        self.name = text
        self.late = ""
        self._read_s, self._stop, self._wait_s = read_s, stop, first_s
        try:
            # Without O_NONBLOCK, opening a named pipe waits for its writer.
            self._fd = os.dup(0) if text == STDIN else os.open(text, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise SourceError(f"{text}: cannot be read ({error.strerror})") from error

    def read(self, size: int) -> bytes:
        """Up to so many bytes, as soon as there are some; none at the end."""
        deadline_s = time.monotonic() + self._wait_s
        while not (self.late or self._stop()):
            if select.select([self._fd], [], [], LOOK_S)[0]:
                with contextlib.suppress(BlockingIOError):
                    data = os.read(self._fd, size)
                    self._wait_s = self._read_s
                    return data
            elif time.monotonic() > deadline_s:
                self.late = f"no data for {self._wait_s:g} s"
        return b""

    def close(self) -> None:
        """Let go of the pipe. May be called again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
