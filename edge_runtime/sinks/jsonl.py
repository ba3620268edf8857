"""JSON lines: files to which whole lines are added, and ``results.jsonl`` among them."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import select
import stat
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from crackedge.edge_runtime.frame import Frame
from crackedge.edge_runtime.output_file import as_output_error
from crackedge.edge_runtime.records import Record, frame_record
from crackedge.edge_runtime.scan.scanner import FrameResult

if TYPE_CHECKING:
    from typing import Self

STDOUT = Path("-")

_HALF = re.compile("[\ud800-\udfff]")  # of a character: how Python holds bytes of names that are no UTF-8


class LineFile:
    """A file to which lines are added, each there as soon as it is written. A context manager.

    A line that does not fit is taken back, so that the file stays readable on a full disk.

    Args:
        path: the file; :data:`STDOUT` for the process' output. A named pipe may have no reader yet.
        append: whether what is there stays; it is replaced otherwise.

    Attributes:
        files: the file, where it is one that can be renamed; nothing for pipes and devices.
        empty: whether there was nothing in it when it was opened.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, *, append: bool) -> None:
        self.name = "stdout" if path == STDOUT else path.name
        self._path = Path(self.name) if path == STDOUT else path
        with as_output_error(self._path):
            self._file = _open(path, append=append)
            status = os.fstat(self._file.fileno())
            self._regular = stat.S_ISREG(status.st_mode)
            self.files = (path,) if self._regular and path != STDOUT else ()
            self.empty = status.st_size == 0
            if self.files and append and not self.empty and not _ends_well(path):
                self.add(b"\n")  # after a power loss, say

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # nothing is held back that could be lost here
            self._file.close()

    def add(self, lines: bytes) -> None:
        """Add whole lines: all or none.

        Raises:
            OutputError: they cannot be written, or the file was removed.
        """
        with as_output_error(self._path):
            start = self._file.tell() if self._regular else 0
            try:
                rest = memoryview(lines)
                while rest:  # a disk that is nearly full takes a part
                    taken = self._file.write(rest)
                    if taken is None:  # a pipe that whoever made it set not to block
                        select.select((), (self._file,), (), 1)
                    rest = rest[taken or 0 :]
            except OSError:
                if self._regular:
                    with contextlib.suppress(OSError):
                        self._file.truncate(start)
                raise
            if self.files and os.fstat(self._file.fileno()).st_nlink == 0:
                raise OSError(errno.ENOENT, "it was removed meanwhile")


class JsonlSink:
    """``results.jsonl``: one JSON object a line, in the file as soon as it is there.

    Args:
        path: the file; replaced. :data:`STDOUT` for the process' output.
        append: whether to write on behind what is there.
        resumed: whether what is there is this run's beginning: its header stays.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, *, append: bool = False, resumed: bool = False) -> None:
        self._lines = LineFile(path, append=append or resumed)
        self.name, self.files = self._lines.name, self._lines.files
        self._resumed = resumed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.__exit__(kind, error, trace)

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Write the frame's line; see :class:`crackedge.edge_runtime.sinks.sink.Sink`."""
        self.note(frame_record(frame, result))

    def note(self, record: Record) -> None:
        """Write a line; see :class:`crackedge.edge_runtime.sinks.sink.Sink`."""
        if not (self._resumed and record["type"] == "header"):
            self._lines.add(json_line(record))

    def finish(self) -> None:
        """Nothing is held back."""


def json_line(record: Record) -> bytes:
    """A record as a line of JSON that every parser takes; for names of files see :func:`.records.as_text`."""
    line = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return line.encode() + b"\n"
    except UnicodeEncodeError:
        return _HALF.sub(lambda half: rf"\\u{ord(half[0]):04x}", line).encode() + b"\n"


def _open(path: Path, *, append: bool) -> io.FileIO:
    if path == STDOUT:
        return io.FileIO(os.dup(1), "w")
    if path.is_fifo():  # opened for writing only, it would wait for a reader
        return io.FileIO(os.open(path, os.O_RDWR), "w")
    return io.FileIO(path, "a" if append else "w")


def _ends_well(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"
