"""Sinks: what takes results. JSON lines and marked images here, the video in ``marked_video``."""

from __future__ import annotations

import contextlib
import errno
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import av.error
import cv2

from crackedge.edge_runtime.errors import OutputError
from crackedge.edge_runtime.frame import Frame
from crackedge.edge_runtime.marking import mark
from crackedge.edge_runtime.records import Record, frame_record
from crackedge.edge_runtime.scanner import FrameResult

if TYPE_CHECKING:
    from typing import Self

_JPEG_QUALITY = 92


class Sink(Protocol):
    """Takes the frames of a run one after the other. A context manager.

    Attributes:
        name: what to call it in messages.
    """

    name: str

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Take one scanned frame.

        Raises:
            OutputError: it cannot be written; the sink takes no more.
        """
        ...

    def note(self, record: Record) -> None:
        """Take what is not about one frame: header, gap, summary.

        Raises:
            OutputError: it cannot be written; the sink takes no more.
        """
        ...

    def finish(self) -> None:
        """Write all that is held back. After this come only notes.

        Raises:
            OutputError: it cannot be written; the sink takes no more.
        """
        ...

    def __enter__(self) -> Sink: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class JsonlSink:
    """``results.jsonl``: one JSON object a line, in the file as soon as it is there.

    A line that does not fit is taken back, so that the file stays readable on a full disk.

    Args:
        path: the file; replaced.
        scores: whether frames carry the scores of all windows.
        append: whether to write on where an interrupted run stopped; its header stays.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, *, scores: bool = False, append: bool = False) -> None:
        self.name = path.name
        self._path, self._scores, self._append = path, scores, append
        with as_output_error(path):
            self._file = io.FileIO(path, "a" if append else "w")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # nothing is held back that could be lost here
            self._file.close()

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Write the frame's line; see :class:`Sink`."""
        self.note(frame_record(frame, result, scores=self._scores))

    def note(self, record: Record) -> None:
        """Write a line; see :class:`Sink`."""
        if self._append and record["type"] == "header":
            return
        line = json_line(record)
        with as_output_error(self._path):
            start = self._file.tell()
            try:
                rest = memoryview(line)
                while rest:  # a disk that is nearly full takes a part
                    rest = rest[self._file.write(rest) :]
            except OSError:
                with contextlib.suppress(OSError):
                    self._file.truncate(start)
                raise

    def finish(self) -> None:
        """Nothing is held back."""


class ImageSink:
    """``marked/NAME.jpg``: each image with its cracks marked.

    Args:
        folder: where to; made with the first image.
        earlier: files of the frames that an interrupted run wrote there already.
    """

    def __init__(self, folder: Path, *, earlier: Sequence[str] = ()) -> None:
        self.name = folder.name
        self._folder = folder
        self._names: set[str] = set()
        for file in earlier:
            self._free_name(Path(file).stem)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Mark and write an image; see :class:`Sink`."""
        stem = Path(frame.file).stem if frame.file else f"{frame.index:06d}"
        bgr = cv2.cvtColor(mark(frame.image, result.regions), cv2.COLOR_RGB2BGR)
        done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        path = self._folder / self._free_name(stem)
        if not done:
            raise OutputError(f"{path}: cannot be written as JPEG ({frame.image.shape[1]}x{frame.image.shape[0]})")
        with as_output_error(path):
            self._folder.mkdir(exist_ok=True)
            path.write_bytes(data.tobytes())

    def note(self, record: Record) -> None:
        """Only frames can be seen."""

    def finish(self) -> None:
        """Nothing is held back."""

    def _free_name(self, stem: str) -> str:
        name, number = f"{stem}.jpg", 2
        while name.casefold() in self._names:  # the same name in two folders, or as .png and .jpg
            name, number = f"{stem}-{number}.jpg", number + 1
        self._names.add(name.casefold())
        return name


def json_line(record: Record) -> bytes:
    """A record as a line of JSON."""
    return json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


@contextlib.contextmanager
def as_output_error(path: Path) -> Iterator[None]:
    """Turn errors of the system and of FFmpeg into one that names the path, the reason and what to do."""
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        if isinstance(error, OutputError):
            raise
        reason = error.strerror or str(error) or type(error).__name__
        hint = {
            errno.ENOSPC: "free some space",
            errno.EACCES: "give a folder that you may write to",
            errno.EROFS: "give a folder that can be written to",
        }.get(error.errno or 0, "check the disk and the folder")
        raise OutputError(f"{path}: cannot be written ({reason}); {hint}") from error
