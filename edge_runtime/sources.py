"""Sources: what gives frames, how they are to be read, and opening them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from crackedge.edge_runtime.addresses import STDIN, Address, Kind, find_addresses
from crackedge.edge_runtime.applicability import refuse_misfits
from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.frame import Frame
from crackedge.edge_runtime.pipe import RawVideo, check_stdin
from crackedge.edge_runtime.selection import Selection

ROTATIONS = (0, 90, 180, 270)
FLIPS = ("", "h", "v", "hv")
_MOST_FPS = 1000
_PATIENCE = ("open_s", "read_s", "give_up_s", "freeze_s")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file of a source that could not be read and was passed over."""

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


def open_source(
    text: str | Path,
    options: SourceOptions | None = None,
    *,
    stop: Callable[[], bool] = never,
    on_warning: Callable[[str], None] = lambda _: None,
) -> Source:
    """Open what gives frames. Use it in a ``with`` block and iterate over it.

    Args:
        text: camera number or device, file, folder or glob of images, stream URL, or ``scene:``.
        options: how to read it.
        stop: asked now and then while a live source waits; iteration ends when it says True.
        on_warning: called with a line as soon as a live source is lost.

    Raises:
        SourceError: a file is missing, unreadable or holds no frames (that may show only while iterating).
        LiveSourceError: a camera or stream is absent; while iterating: it was lost.
        OptionError: the text stands for several sources, or for nothing that can be read.
    """
    addresses = find_addresses(str(text))
    if len(addresses) > 1:
        raise OptionError(
            f"{text}: {len(addresses)} sources in there ({addresses[0].name}, {addresses[1].name}, ...); "
            "open them one by one"
        )
    return open_address(addresses[0], options, stop=stop, on_warning=on_warning)


def open_address(
    address: Address,
    options: SourceOptions | None = None,
    *,
    stop: Callable[[], bool] = never,
    on_warning: Callable[[str], None] = lambda _: None,
) -> Source:
    """Open a found source; see :func:`open_source`."""
    options = options or SourceOptions()
    refuse_misfits(address, options)
    if address.text == STDIN:
        check_stdin()
    source = _open(address, options, stop=stop, on_warning=on_warning)
    if not (options.loop or options.realtime or options.every_s or options.rotate or options.flip):
        return source
    from crackedge.edge_runtime import views

    if options.loop:
        source = views.looped(source)
    if options.realtime and not source.live:
        source = views.paced(source, options, stop=stop)
    elif source.live and options.every_s:
        source = views.spaced(source, options.every_s)
    if options.rotate or options.flip:
        source = views.turned(source, rotate=options.rotate, flip=options.flip)
    return source


def _open(
    address: Address, options: SourceOptions, *, stop: Callable[[], bool], on_warning: Callable[[str], None]
) -> Source:
    if address.kind == "images":
        from crackedge.edge_runtime.images import ImageFiles

        return ImageFiles(address, options)
    if address.kind == "video" or (address.is_pipe and options.realtime is False):
        from crackedge.edge_runtime.video import VideoFile

        return VideoFile(address, options, stop=stop)
    if address.kind == "scene":
        from crackedge.edge_runtime.scene_source import SceneSource

        return SceneSource(address, options.selection())
    return _open_live(address, options, stop=stop, on_warning=on_warning)


def _open_live(
    address: Address, options: SourceOptions, *, stop: Callable[[], bool], on_warning: Callable[[str], None]
) -> Source:
    if address.scheme == "picamera":
        from crackedge.edge_runtime.picamera import open_picamera

        return open_picamera(address, options, stop=stop, on_warning=on_warning)
    if address.scheme in ("gst", "csi"):
        from crackedge.edge_runtime.gstreamer import open_gstreamer

        return open_gstreamer(address, options, stop=stop, on_warning=on_warning)
    if address.kind == "camera":
        from crackedge.edge_runtime.camera import open_camera

        return open_camera(address, options, stop=stop, on_warning=on_warning)
    from crackedge.edge_runtime.stream import open_stream

    return open_stream(address, options, stop=stop, on_warning=on_warning)
