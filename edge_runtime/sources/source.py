"""Sources: what gives frames, and how they are to be read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.frame import Frame
from crackedge.edge_runtime.sources.addresses import Kind
from crackedge.edge_runtime.sources.pipe import RawVideo
from crackedge.edge_runtime.sources.selection import Selection

ROTATIONS = (0, 90, 180, 270)
FLIPS = ("", "h", "v", "hv")
_MOST_FPS = 1000
_PATIENCE = ("open_s", "read_s", "give_up_s", "freeze_s")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that could not be used and was passed over, and why."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames that a source should have given and could not.

    Attributes:
        reason: what happened, in words.
        before_index: index of the frame that comes after the gap, or would.
        time_s: position of the last frame before the gap, seconds.
        seconds: how long the gap is; None where nobody knows.
        started_at: UTC, for live sources.
    """

    reason: str
    before_index: int
    time_s: float
    seconds: float | None = None
    started_at: datetime | None = None


class Source(Protocol):
    """An iterable of frames that owns what it reads from, and lets go of it at the end of its ``with`` block.

    Attributes:
        uri: what it was opened from, without passwords.
        name: a short name, fit for a folder.
        kind: what it is.
        live: whether it gives the newest frame and drops others, instead of every frame.
        frame_count: how many frames it will give; an estimate, None where nobody knows.
        fps: nominal frames per second, None where there is no such thing.
        width: of its frames in pixels as displayed, where known beforehand.
        height: of its frames in pixels as displayed, where known beforehand.
        skipped: files passed over so far.
        gaps: what was lost so far; a gap stands here before the frame after it is given.
        remarks: lines for whoever watches, about files that are not read or not as they may be meant; the run that
            passes one on takes it out.
    """

    uri: str
    name: str
    kind: Kind
    live: bool
    frame_count: int | None
    fps: float | None
    width: int | None
    height: int | None
    skipped: list[Skipped]
    gaps: list[Gap]
    remarks: list[str]

    def __iter__(self) -> Iterator[Frame]: ...

    def __enter__(self) -> Source: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """How sources are to be read.

    Attributes:
        open_s: seconds that a camera or URL may take to open.
        read_s: seconds that a camera or URL may take for the next frame.
        give_up_s: seconds without a frame after which a lost camera or stream is given up; 0: at once.
        freeze_s: seconds that a camera or stream may give the same pictures before that is put on record; 0: for ever.
        size_wh: width and height in pixels to ask of a camera; it may give another size.
        fps: frames per second to ask of a camera; rate of a series of images, or of raw frames.
        rotate: degrees by which frames are turned clockwise: 0, 90, 180 or 270.
        flip: how frames are mirrored after that: ``"h"``, ``"v"``, ``"hv"``, or ``""``.
        start_s: position in a file from which on frames are given, seconds.
        end_s: position before which they are; None for the end.
        every: from one frame of a file to the next that is given, in frames.
        every_s: the same in seconds, for live sources too; 0 for all.
        loop: whether a file begins again at its end, for ever.
        realtime: True: a file gives its newest frame at its own pace, as if live; False: a pipe gives every frame, and
            its writer waits; None: files give every frame, pipes the newest.
        raw: what is in a pipe or file that holds nothing but pixels.

    Raises:
        OptionError: an option has a value that cannot be used.
    """

    open_s: float = 10.0
    read_s: float = 5.0
    give_up_s: float = 60.0
    freeze_s: float = 10.0
    size_wh: tuple[int, int] | None = None
    fps: float | None = None
    rotate: int = 0
    flip: str = ""
    start_s: float = 0.0
    end_s: float | None = None
    every: int = 1
    every_s: float = 0.0
    loop: bool = False
    realtime: bool | None = None
    raw: RawVideo | None = None

    def __post_init__(self) -> None:
        for name in ("open_s", "read_s"):
            value = getattr(self, name)
            if not value > 0:
                raise OptionError(f"{name} {value}: expected a number of seconds above 0")
        for name in ("give_up_s", "freeze_s", "start_s", "every_s"):
            value = getattr(self, name)
            if not value >= 0 or (value == math.inf and name in ("start_s", "every_s")):
                raise OptionError(f"{name} {value}: expected a number of seconds, 0 or more")
        if self.size_wh is not None and min(self.size_wh) < 1:
            raise OptionError(f"size {self.size_wh[0]}x{self.size_wh[1]}: expected at least 1 pixel each way")
        if self.fps is not None and not 0 < self.fps <= _MOST_FPS:
            raise OptionError(f"fps {self.fps}: expected frames per second above 0 and up to {_MOST_FPS}")
        if self.rotate not in ROTATIONS:
            raise OptionError(f"rotate {self.rotate}: expected {', '.join(str(turn) for turn in ROTATIONS)}")
        if self.flip not in FLIPS:
            raise OptionError(f"flip {self.flip!r}: expected h, v or hv")
        if self.end_s is not None and not self.end_s > self.start_s:
            raise OptionError(f"end {self.end_s:g} s: expected more than the start, {self.start_s:g} s")
        if self.every < 1:
            raise OptionError(f"every {self.every}: expected a number of frames of at least 1")

    def shaping(self) -> dict[str, Any]:
        """The options that the frames depend on, those that are not as usual: JSON's types."""
        usual = SourceOptions()
        shape = {name: value for name, value in asdict(self).items() if value != getattr(usual, name)}
        return {name: shape[name] for name in shape if name not in _PATIENCE}

    def selection(self) -> Selection:
        """Which frames of a file are given."""
        return Selection(start_s=self.start_s, end_s=self.end_s, every=self.every, every_s=self.every_s)


def never() -> bool:
    """What asks a source to stop, where nobody does."""
    return False
