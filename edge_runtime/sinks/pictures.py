"""Pictures as files: whole frames with their cracks marked, and each crack cut out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import cv2

from crackedge.edge_runtime.errors import OutputError
from crackedge.edge_runtime.frame import Frame, Image
from crackedge.edge_runtime.lattice import CELL
from crackedge.edge_runtime.output_file import as_output_error
from crackedge.edge_runtime.records import Record, as_text
from crackedge.edge_runtime.scan.regions import Region
from crackedge.edge_runtime.scan.scanner import FrameResult
from crackedge.edge_runtime.sinks.marking import marked

if TYPE_CHECKING:
    from typing import Self

Written = Callable[[Path, int], None]  # called with each file that was written, and its length in bytes

_JPEG_QUALITY = 92
_LONGEST = 255  # bytes of a file's name, on most disks


def unwatched(path: Path, length: int) -> None:
    """What is called with written files where nobody wants to know."""


def cut_out(image: Image, region: Region) -> Image:
    """A view of the region in an (H, W, 3) picture, with a margin of one cell."""
    x0, y0, x1, y1 = region.bbox
    return image[max(0, y0 - CELL) : y1 + CELL, max(0, x0 - CELL) : x1 + CELL]


def encoded_jpeg(image: Image, *, quality: int = _JPEG_QUALITY) -> bytes | None:
    """An (H, W, 3) uint8 RGB picture as a JPEG file; None where it is too large for one."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes() if done else None


class PictureFolder:
    """A folder of JPEG files with names of their own.

    Args:
        folder: where to; made with the first picture.
        replace: whether files of earlier runs in it may be replaced.
        written: called with each file.
    """

    def __init__(self, folder: Path, *, replace: bool, written: Written) -> None:
        self._folder, self._replace, self._written = folder, replace, written
        self._names: set[str] = set()

    def name_of(self, frame: Frame) -> str:
        """The name of the frame's file, or its number."""
        return Path(frame.file).stem if frame.file else f"{frame.index:06d}"

    def take(self, stem: str, tail: str = "") -> Path:
        """A path that no other picture has: the same name may come from two folders, or as .png and .jpg.

        Args:
            stem: shortened where it is too long for a file's name.
            tail: what comes after it in any case.
        """
        name, number = _fitted(stem, f"{tail}.jpg"), 2
        while name.casefold() in self._names or (not self._replace and (self._folder / name).exists()):
            name, number = _fitted(stem, f"{tail}-{number}.jpg"), number + 1
        if self._replace:
            self._names.add(name.casefold())
        return self._folder / name

    def add(self, stem: str, image: Image, *, tail: str = "") -> None:
        """Write a picture, (H, W, 3) uint8 RGB; for its name see :meth:`take`.

        Raises:
            OutputError: it cannot be written; nothing of it is left.
        """
        path = self.take(stem, tail)
        data = encoded_jpeg(image)
        if data is None:
            raise OutputError(f"{path}: cannot be written as JPEG ({image.shape[1]}x{image.shape[0]})")
        with as_output_error(path):
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                path.write_bytes(data)
            except OSError:
                with contextlib.suppress(OSError):
                    path.unlink()
                raise
        self._written(path, len(data))


class ImageSink:
    """``marked/NAME.jpg``: frames with their cracks marked.

    Args:
        folder: where to; made with the first image.
        earlier: files of the frames that an interrupted run wrote there already.
        cracked_only: whether frames without a crack are left out.
        replace: whether files of earlier runs in it may be replaced.
        written: called with each file.
    """

    def __init__(
        self,
        folder: Path,
        *,
        earlier: Sequence[str] = (),
        cracked_only: bool = False,
        replace: bool = True,
        written: Written = unwatched,
    ) -> None:
        self.name = folder.name
        self._pictures = PictureFolder(folder, replace=replace, written=written)
        self._cracked_only = cracked_only
        for file in earlier:
            self._pictures.take(Path(file).stem)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Mark and write a frame; see :class:`crackedge.edge_runtime.sinks.sink.Sink`."""
        if result.cracked or not self._cracked_only:
            self._pictures.add(self._pictures.name_of(frame), marked(frame.image, result.regions))

    def note(self, record: Record) -> None:
        """Only frames can be seen."""

    def finish(self) -> None:
        """Nothing is held back."""


class CropSink:
    """``NAME-NUMBER.jpg``: each crack region cut out with a margin, unmarked, the highest score first.

    Args:
        folder: where to; made with the first image.
        written: called with each file.
    """

    def __init__(self, folder: Path, *, written: Written = unwatched) -> None:
        self.name = folder.name
        self._pictures = PictureFolder(folder, replace=False, written=written)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Cut out and write the regions; see :class:`crackedge.edge_runtime.sinks.sink.Sink`."""
        for number, region in enumerate(result.regions, 1):
            self._pictures.add(self._pictures.name_of(frame), cut_out(frame.image, region), tail=f"-{number}")

    def note(self, record: Record) -> None:
        """Only frames can be seen."""

    def finish(self) -> None:
        """Nothing is held back."""


def _fitted(stem: str, tail: str) -> str:
    """The two as a name that is no longer than files' names may be."""
    room = _LONGEST - len(tail.encode())
    return as_text(stem).encode()[:room].decode(errors="ignore") + tail
