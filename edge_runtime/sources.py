"""Sources: what gives frames. One grammar for cameras, files, folders, globs, streams and scenes.

``0`` or ``/dev/video0`` is a camera; ``rtsp://``, ``http://``, ``udp://`` and the like are streams, and so is a named
pipe; ``scene:`` is a synthetic flight; everything else is a file, a folder or a glob. An ``http://`` address that ends
like a video file is a file: every frame counts, where live sources give the newest.
"""

from __future__ import annotations

import glob
import re
import stat
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol

from crackedge.edge_runtime.errors import OptionError, SourceError
from crackedge.edge_runtime.frame import Frame

if TYPE_CHECKING:
    from typing import Self

Kind = Literal["video", "images", "camera", "stream", "scene"]

_IMAGES = "jpg jpeg jpe png bmp tif tiff webp ppm pgm pnm jp2"
_VIDEOS = "mp4 m4v mov avi mkv webm mpg mpeg ts m2ts mts mjpg mjpeg wmv flv 3gp ogv h264 264 h265 hevc gif y4m mxf"
IMAGE_SUFFIXES = frozenset(f".{suffix}" for suffix in _IMAGES.split())
VIDEO_SUFFIXES = frozenset(f".{suffix}" for suffix in _VIDEOS.split())
FILE_SCHEMES = frozenset({"http", "https"})
STREAM_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "tcp", "srt", *FILE_SCHEMES})

_SECRETS = re.compile(r"pass|pwd|token|key|auth|secret|sig", re.IGNORECASE)


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

    Raises:
        OptionError: an option has a value that cannot be used.
    """

    open_s: float = 10.0
    read_s: float = 5.0

    def __post_init__(self) -> None:
        for name in ("open_s", "read_s"):
            value = getattr(self, name)
            if not value > 0:
                raise OptionError(f"{name} {value}: expected a number of seconds above 0")


@dataclass(frozen=True, slots=True)
class Address:
    """Where one source is, found but not opened.

    Attributes:
        text: what to open: a path, URL or number.
        kind: what will be there.
        name: a short name, fit for a folder.
        files: the files of a source of kind ``images``.
    """

    text: str
    kind: Kind
    name: str
    files: tuple[str, ...] = ()

    @property
    def uri(self) -> str:
        """The text without passwords."""
        return without_secrets(self.text)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that it reads; none for live sources, URLs and scenes."""
        if self.kind == "video" and _scheme(self.text) is None:
            return (Path(self.text),)
        return tuple(Path(file) for file in self.files)


def never() -> bool:
    """What asks a source to stop, where nobody does."""
    return False


def find_addresses(text: str) -> list[Address]:
    """The sources that a text stands for: one, or several for a folder or glob with videos in it.

    Raises:
        SourceError: there is no such file, or nothing to read in the folder.
        OptionError: a URL of a kind that is not read.
    """
    scheme = _scheme(text)
    if scheme is not None:
        return [_url_address(text, scheme)]
    if text.startswith("scene:"):
        return [Address(text, "scene", "scene")]
    if not text.strip():
        raise OptionError("the source is empty; expected a file, folder, URL, camera number or scene:")
    path = Path(text)
    if re.fullmatch(r"\d{1,3}|/dev/(video\d|v4l/).*", text) or path.is_char_device():
        return [Address(text, "camera", folder_name(f"camera-{path.name}"))]
    if path.exists():
        return _addresses_in(path) if path.is_dir() else [_file_address(path)]
    if glob.has_magic(text):
        return _addresses_of(text, glob.glob(text, recursive=True))  # noqa: PTH207 - any path, also an absolute one
    raise SourceError(
        f"{text}: no such file or folder; expected a video, an image, a folder, a glob in quotes, a stream URL, "
        "a camera number such as 0, or scene:"
    )


def open_source(text: str | Path, options: SourceOptions | None = None, *, stop: Callable[[], bool] = never) -> Source:
    """Open what gives frames. Use it in a ``with`` block and iterate over it.

    Args:
        text: camera number or device, file, folder or glob of images, stream URL, or ``scene:``.
        options: how to read it.
        stop: asked now and then while a live source waits; iteration ends when it says True.

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
    return open_address(addresses[0], options, stop=stop)


def open_address(address: Address, options: SourceOptions | None = None, *, stop: Callable[[], bool] = never) -> Source:
    """Open a found source; see :func:`open_source`."""
    options = options or SourceOptions()
    if address.kind == "images":
        from crackedge.edge_runtime.images import ImageFiles

        return ImageFiles(address)
    if address.kind == "video":
        from crackedge.edge_runtime.video import VideoFile

        return VideoFile(address, options)
    if address.kind == "scene":
        return SceneSource(address)
    if address.kind == "camera":
        from crackedge.edge_runtime.camera import open_camera

        return open_camera(address, options, stop=stop)
    from crackedge.edge_runtime.stream import open_stream

    return open_stream(address, options, stop=stop)


class SceneSource:
    """A synthetic flight as a source; see :mod:`crackedge.edge_runtime.scenes`."""

    kind: Kind = "scene"
    live = False

    def __init__(self, address: Address) -> None:
        from crackedge.edge_runtime.scenes import parse_scene

        self._flight = parse_scene(address.text)
        self.uri = address.uri
        self.name = folder_name(self._flight.name)
        self.frame_count: int | None = self._flight.frame_count
        self.fps: float | None = self._flight.fps
        self.width: int | None = self._flight.width
        self.height: int | None = self._flight.height
        self.skipped: list[Skipped] = []
        self.gaps: list[Gap] = []

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._flight)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def folder_name(text: str) -> str:
    """The text as a name for a folder: letters, digits, dot, dash and underscore, never empty or hidden."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._-")[:80] or "source"


def without_secrets(text: str) -> str:
    """A URL without its password, and without what looks like a key in its query."""
    if _scheme(text) is None:
        return text
    parts = urllib.parse.urlsplit(text)
    netloc = re.sub(r"^([^@:]*):[^@]*@", r"\1:***@", parts.netloc)
    query = "&".join(
        f"{name}=***" if _SECRETS.search(name) else field
        for field in parts.query.split("&")
        for name in (field.split("=")[0],)
    )
    return urllib.parse.urlunsplit(parts._replace(netloc=netloc, query=query))


def in_order(names: Sequence[str]) -> list[str]:
    """Names as people order them: 2 before 10."""
    return sorted(names, key=lambda name: ([_part(part) for part in re.split(r"(\d+)", name)], name))


def _part(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdecimal() else (-1, text.casefold())


def _scheme(text: str) -> str | None:
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", text)
    return match.group(1).lower() if match else None


def _url_address(text: str, scheme: str) -> Address:
    if scheme not in STREAM_SCHEMES:
        raise OptionError(
            f"{without_secrets(text)}: {scheme}:// is not read; expected {', '.join(sorted(STREAM_SCHEMES))}"
        )
    parts = urllib.parse.urlsplit(text)
    path = Path(urllib.parse.unquote(parts.path))
    is_file = scheme in FILE_SCHEMES and path.suffix.lower() in VIDEO_SUFFIXES - {".mjpg", ".mjpeg"}
    name = path.stem if is_file else f"{parts.netloc.rpartition('@')[2]}{parts.path}"
    return Address(text, "video" if is_file else "stream", folder_name(name))


def _file_address(path: Path) -> Address:
    text, name, suffix = str(path), folder_name(path.stem), path.suffix.lower()
    try:
        if stat.S_ISFIFO(path.stat().st_mode):
            return Address(text, "stream", name)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from error
    if suffix in IMAGE_SUFFIXES or (suffix not in VIDEO_SUFFIXES and _looks_like_image(path)):
        return Address(text, "images", name, (text,))
    return Address(text, "video", name)


def _looks_like_image(path: Path) -> bool:
    import PIL.Image

    try:
        with PIL.Image.open(path):
            return True
    except (OSError, ValueError, PIL.Image.DecompressionBombError):
        return False


def _addresses_in(folder: Path) -> list[Address]:
    try:
        return _addresses_of(str(folder), [str(file) for file in folder.iterdir() if not file.name.startswith(".")])
    except PermissionError as error:
        raise SourceError(f"{folder}: cannot be read ({error.strerror})") from error


def _addresses_of(text: str, files: Sequence[str]) -> list[Address]:
    files = in_order([file for file in files if not Path(file).is_dir()])
    images = tuple(file for file in files if Path(file).suffix.lower() in IMAGE_SUFFIXES)
    videos = [file for file in files if Path(file).suffix.lower() in VIDEO_SUFFIXES]
    found = [Address(file, "video", folder_name(Path(file).stem)) for file in videos]
    if images:
        found.insert(0, Address(text, "images", folder_name(_steady_part(text)), images))
    if not found:
        what = "no image or video among its files" if files else "no files there"
        raise SourceError(f"{text}: {what}; for subfolders give a glob in quotes, such as 'photos/**/*.jpg'")
    return found


def _steady_part(text: str) -> str:
    """The last part of a folder or glob that has no wildcard in it."""
    steady = [part for part in Path(text).absolute().parts if not glob.has_magic(part)]
    return steady[-1]
