"""Image files as a source: photos in any mode and orientation, as RGB frames."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import PIL.ImageOps
import PIL.ImageSequence

from crackedge.edge_runtime.errors import SourceError
from crackedge.edge_runtime.frame import Frame, Image
from crackedge.edge_runtime.sources.addresses import Address, Kind
from crackedge.edge_runtime.sources.source import Gap, Skipped, SourceOptions

if TYPE_CHECKING:
    from typing import Self

_BACKDROP = (127, 127, 127)  # behind transparent parts: no strong edge against concrete
_TWELVE_BITS = 16  # the brightest that is left of them, of 255, when they are taken for 16
_NO_PAGE = 1 | 4  # bits of a TIFF page's NewSubfileType: a smaller copy, a mask
_SUBFILE_TYPE = 254


def read_image(file: str | Path, *, on_warning: Callable[[str], None] = lambda _: None) -> Image:
    """(H, W, 3) uint8 RGB of an image file, upright; 16 bits are scaled to 8, transparent parts become grey.

    Args:
        file: read whole; of several pages the first.
        on_warning: called with a line where the image may not be what the file is meant to show.

    Raises:
        SourceError: the file is missing, broken, or no image.
    """
    try:
        with warnings.catch_warnings():
            # Photos of more than 89 megapixels are ordinary here; beyond 179 it is an error all the same.
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(file) as opened:
                is_tiff, is_deep = opened.format == "TIFF", _is_deep(opened)
                opened.load()
                PIL.ImageOps.exif_transpose(opened, in_place=True)
                image = np.array(_rgb(opened), np.uint8)
    except PIL.UnidentifiedImageError as error:
        raise SourceError(f"{file}: not an image that can be read; export it as JPEG or PNG") from error
    except PIL.Image.DecompressionBombError as error:
        raise SourceError(f"{file}: more than 179 megapixels; cut it into parts") from error
    except Exception as error:  # the decoders raise SyntaxError, struct.error, KeyError ... on damaged files
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise SourceError(f"{file}: cannot be read ({reason})") from error
    if is_tiff and (pages := _page_count(file)) > 1:
        on_warning(f"{file}: has {pages} pages, the first is scanned; export the others as files of their own")
    if is_deep and (brightest := int(image.max())) <= _TWELVE_BITS:
        on_warning(
            f"{file}: a 16-bit picture that uses only 12 bits or fewer, nearly black (at most {brightest} of 255), and "
            "cracks are missed in it; export it with 8 bits, or with its values scaled to 16"
        )
    return image


def _is_deep(picture: PIL.Image.Image) -> bool:
    """Whether a picture that is not loaded yet has 16 bits a colour in its file; Pillow makes 8 of most at once."""
    return picture.mode.startswith("I") or any(";16" in str(tile) for tile in getattr(picture, "tile", ()))


def _page_count(file: str | Path) -> int:
    """How many pictures of its own a TIFF file holds, as far as it can be read."""
    pages = 0
    with contextlib.suppress(Exception), warnings.catch_warnings():  # the first page was read, and that is enough
        warnings.simplefilter("ignore")
        with PIL.Image.open(file) as opened:
            for page in PIL.ImageSequence.Iterator(opened):
                pages += not int(getattr(page, "tag_v2", {}).get(_SUBFILE_TYPE, 0)) & _NO_PAGE
    return pages


def _rgb(picture: PIL.Image.Image) -> PIL.Image.Image:
    mode = picture.mode
    if mode == "I" or mode.startswith("I;16"):  # conversion by Pillow would clip everything above 255
        values = np.asarray(picture).astype(np.int64).clip(0, 65535)
        return PIL.Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if mode == "F":
        raise SourceError("pixels are floating-point numbers; export it with 8 or 16 bits")
    if "A" in picture.getbands() or "transparency" in picture.info:
        shown = picture.convert("RGBA")
        backdrop = PIL.Image.new("RGBA", shown.size, (*_BACKDROP, 255))
        return PIL.Image.alpha_composite(backdrop, shown).convert("RGB")
    return picture if mode == "RGB" else picture.convert("RGB")


class ImageFiles:
    """A source of image files, one frame each, all or those selected; others are not read.

    A broken file is passed over and stands in ``skipped``; the others keep their numbers. With a rate they have times.
    """

    kind: Kind = "images"
    live = False

    def __init__(self, address: Address, options: SourceOptions) -> None:
        self.uri = address.uri
        self.name = address.name
        self._selection, self._file_fps = options.selection(), options.fps
        self.fps = self._selection.rate(options.fps)
        self.frame_count = self._selection.count(len(address.files), fps=options.fps)
        self.width: int | None = None
        self.height: int | None = None
        self.skipped: list[Skipped] = []
        self.gaps: list[Gap] = []
        self.remarks: list[str] = [address.unread] if address.unread else []
        self._remarked: set[str] = set()
        self._files = address.files

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __iter__(self) -> Iterator[Frame]:
        """The frames of the files that can be read.

        Raises:
            SourceError: none of them can.
        """
        rate = self._file_fps
        places = ((index, index / rate if rate else 0.0, file) for index, file in enumerate(self._files))
        selected = given = 0
        for index, time_s, file in self._selection.of(places):
            selected += 1
            try:
                image = read_image(file, on_warning=self._remark)
            except SourceError as error:
                if len(self._files) == 1:
                    raise
                self._skip(Skipped(file, str(error).removeprefix(f"{file}: ")))
                continue
            given += 1
            yield Frame(image, index, time_s, file=file)
        if not selected:
            raise self._selection.nothing(self.uri, duration_s=len(self._files) / (rate or math.inf))
        if not given:
            first = self.skipped[0]
            raise SourceError(f"{self.uri}: none of {selected} images can be read; {first.file}: {first.reason}")

    def _remark(self, line: str) -> None:
        if line not in self._remarked:
            self._remarked.add(line)
            self.remarks.append(line)

    def _skip(self, skipped: Skipped) -> None:
        if skipped not in self.skipped:  # it is there when the files are read again
            self.skipped.append(skipped)
