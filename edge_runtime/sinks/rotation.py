"""Rotation: outputs of long runs in parts, the oldest of which make room for new ones."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, cast

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.frame import Frame
from crackedge.edge_runtime.notices import Notices
from crackedge.edge_runtime.output_file import as_output_error
from crackedge.edge_runtime.records import Record
from crackedge.edge_runtime.result_folder import MARKED_VIDEO
from crackedge.edge_runtime.scan.scanner import FrameResult
from crackedge.edge_runtime.sinks.sink import RecordSink, Sink

if TYPE_CHECKING:
    from typing import Self

_MB = 1_000_000
_LEAST_PARTS = 10  # that fit into what is kept, unless a size is given for them


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationOptions:
    """When a file is full, and how much is kept.

    Attributes:
        part_mb: megabytes (10^6 bytes) from which an output goes on in a new file; with ``keep_mb``, a tenth of that.
        part_s: seconds of the source after which it does.
        keep_mb: megabytes that all outputs in files may have together; the oldest are deleted.

    Raises:
        OptionError: an option has a value that cannot be used.
    """

    part_mb: float | None = None
    part_s: float | None = None
    keep_mb: float | None = None

    def __post_init__(self) -> None:
        for name in ("part_mb", "part_s", "keep_mb"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise OptionError(f"{name} {value}: expected a number above 0")
        if self.part_mb and self.keep_mb and 2 * self.part_mb > self.keep_mb:
            raise OptionError(f"part_mb {self.part_mb:g}: expected at most half of keep_mb {self.keep_mb:g}")

    @property
    def part_bytes(self) -> float:
        """Size from which a part is full."""
        if self.part_mb is not None:
            return self.part_mb * _MB
        return float("inf") if self.keep_mb is None else self.keep_mb * _MB / _LEAST_PARTS

    @property
    def wanted(self) -> bool:
        """Whether there are to be parts at all."""
        return any(value is not None for value in (self.part_mb, self.part_s, self.keep_mb))


class KeptFiles:
    """The files that outputs have written, oldest first, held to a size together. Any thread may add.

    Args:
        options: the size.
        notices: where to say which files were deleted.
    """

    def __init__(self, options: RotationOptions, notices: Notices) -> None:
        self.options = options
        self._notices = notices
        self._most = float("inf") if options.keep_mb is None else round(options.keep_mb * _MB)
        self._finished: dict[Path, int] = {}  # bytes, oldest first
        self._finished_bytes = 0
        self._growing: dict[object, int] = {}
        self._lock = threading.Lock()

    def add(self, path: Path, length: int) -> None:
        """A file is finished; the oldest are deleted where they are too much together."""
        if self._most < float("inf"):
            with self._lock:
                self._finished_bytes += length - self._finished.pop(path, 0)
                self._finished[path] = length
                self._make_room()

    def add_earlier(self, files: Iterable[Path]) -> None:
        """Files of one output that are there already, oldest first.

        Those of several outputs go by when they were last written, so that none of them makes room for all.

        Raises:
            OSError: one cannot be found.
        """
        if self._most < float("inf"):
            with self._lock:
                new = {file: file.stat().st_size for file in files if file not in self._finished}
                lengths = self._finished | new
                self._finished = {file: lengths[file] for file in heapq.merge(self._finished, new, key=_written_s)}
                self._finished_bytes += sum(new.values())
                self._make_room()

    def grow(self, who: object, length: int) -> None:
        """What is being written by somebody is so long now."""
        if self._most < float("inf"):
            with self._lock:
                self._growing[who] = length
                self._make_room()

    def grown(self, who: object) -> None:
        """Somebody writes no more: what they wrote is finished, or renamed."""
        with self._lock:
            self._growing.pop(who, None)

    def forget(self, path: Path) -> None:
        """A file that was finished is so no longer: it is written to, or renamed."""
        with self._lock:
            self._finished_bytes -= self._finished.pop(path, 0)

    def _make_room(self) -> None:
        deleted, freed = [], 0
        while self._finished and self._finished_bytes + sum(self._growing.values()) > self._most:
            path = next(iter(self._finished))
            length = self._finished.pop(path)
            self._finished_bytes -= length
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                self._notices.warn(f"{path}: cannot be deleted ({error.strerror}); it stays")
            else:
                deleted.append(path.name)
                freed += length
        if deleted:
            self._notices.note({"type": "deleted", "files": deleted, "bytes": freed})


class PartSink(RecordSink, Protocol):
    """A sink that writes files."""

    @property
    def files(self) -> Iterable[Path]:
        """What it has written so far, or begun to."""
        ...


class RotatingSink:
    """A file in parts: the newest has the plain name; those before it are finished and have numbers, from 000001 on.

    Each part can be read on its own: JSON lines and CSV begin with their header. What an earlier run left there becomes
    the first parts.

    Args:
        path: the file.
        open_part: opens it anew.
        kept: when a part is full, and what becomes of old ones.
    """

    def __init__(self, path: Path, open_part: Callable[[Path], PartSink], kept: KeptFiles) -> None:
        self.name = path.name
        self._path, self._open_part, self._kept = path, open_part, kept
        self._numbered = re.compile(rf"{re.escape(path.stem)}-(\d{{6,}}){re.escape(path.suffix)}")
        self._header: Record | None = None
        self._since_s: float | None = None
        with as_output_error(path):
            earlier = sorted((int(match[1]), file) for file in path.parent.iterdir() if (match := self._match(file)))
            self._number = earlier[-1][0] if earlier else 0
        parts = self._set_aside(_unnumbered(path))
        with as_output_error(path):
            kept.add_earlier([*(file for _, file in earlier), *parts])
        self._part = open_part(path)

    def __enter__(self) -> Self:
        self._part.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._part.__exit__(kind, error, trace)
        self._kept.grown(self)
        with contextlib.suppress(OSError):  # what is gone needs no room
            for file in self._part.files:
                self._kept.add(file, file.stat().st_size)

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Pass a frame on, to a new part if the last is full; see :class:`crackedge.edge_runtime.sinks.sink.Sink`."""
        self._turn(frame.time_s)
        cast("Sink", self._part).write(frame, result)

    def note(self, record: Record) -> None:
        """Pass a record on, to a new part if the last is full; see ``RecordSink``."""
        if record["type"] == "header":
            self._header = record
        elif record["type"] == "frame":
            self._turn(record["time_s"])
        self._part.note(record)

    def finish(self) -> None:
        """Finish the last part; see :class:`crackedge.edge_runtime.sinks.sink.RecordSink`."""
        self._part.finish()

    def _turn(self, time_s: float) -> None:
        """Begin a new part where the last is full; a frame is in one part only."""
        with as_output_error(self._path):
            length = sum(file.stat().st_size for file in self._part.files)
        self._kept.grow(self, length)
        options = self._kept.options
        if self._since_s is None:
            self._since_s = time_s
        if length >= options.part_bytes or (
            options.part_s is not None and length and time_s - self._since_s >= options.part_s
        ):
            self._part.finish()
            self._part.__exit__(None, None, None)
            finished = self._set_aside(self._part.files)
            with as_output_error(self._path):
                for file in finished:
                    self._kept.add(file, file.stat().st_size)
            self._part = self._open_part(self._path)
            self._part.__enter__()
            if self._header is not None:
                self._part.note(self._header)
            self._since_s = time_s

    def _set_aside(self, files: Iterable[Path]) -> list[Path]:
        """Give files their numbers."""
        self._kept.grown(self)
        parts = []
        with as_output_error(self._path):
            for file in files:
                if file.exists():
                    self._number += 1
                    self._kept.forget(file)
                    part = self._path.with_name(f"{self._path.stem}-{self._number:06d}{self._path.suffix}")
                    parts.append(file.rename(part))
        return parts

    def _match(self, file: Path) -> re.Match[str] | None:
        return self._numbered.fullmatch(file.name)


def _unnumbered(path: Path) -> list[Path]:
    """What the last run wrote to a file at its end: the marked video has others behind it where frames changed size."""
    if path.name != MARKED_VIDEO:
        return [path]  # of other outputs, such names may be those of other sources
    others = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in itertools.count(2))
    return [path, *itertools.takewhile(Path.exists, others)]


def _written_s(file: Path) -> float:
    """When a file was last written; long ago where somebody removed it."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0
