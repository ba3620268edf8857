"""Addresses: the one grammar of sources, found but not opened.

``0``, ``/dev/video0`` and ``v4l2:///dev/video0`` are cameras, ``csi://0`` and ``picamera://0`` those of a Jetson and a
Raspberry Pi. ``rtsp://``, ``http://``, ``udp://`` and the like are streams, and so are ``gst:PIPELINE``, a named pipe,
and ``-``, which is stdin. ``scene:`` is a synthetic flight. Everything else is a file, a folder or a glob. An
``http://`` address that ends like a video file is a file: every frame counts, where live sources give the newest.
"""

from __future__ import annotations

import glob
import itertools
import os
import re
import stat
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crackedge.edge_runtime.errors import OptionError, SourceError
from crackedge.edge_runtime.result_folder import RESULTS

Kind = Literal["video", "images", "camera", "stream", "scene"]

_IMAGES = "jpg jpeg jpe png bmp tif tiff webp ppm pgm pnm jp2"
_VIDEOS = "mp4 m4v mov avi mkv webm mpg mpeg ts m2ts mts mjpg mjpeg wmv flv 3gp ogv h264 264 h265 hevc gif y4m mxf"
IMAGE_SUFFIXES = frozenset(f".{suffix}" for suffix in _IMAGES.split())
VIDEO_SUFFIXES = frozenset(f".{suffix}" for suffix in _VIDEOS.split())
_OTHERS = "heic heif hif avif jxl dng nef nrw cr2 cr3 crw arw sr2 srw raf orf rw2 pef raw iiq 3fr x3f gpr rjpeg psd"
_OTHER_SUFFIXES = frozenset(f".{suffix}" for suffix in _OTHERS.split())  # photographs, but none that are read
_MOST_FOLDERS = 1000  # that are looked into for photographs, in one subfolder
FILE_SCHEMES = frozenset({"http", "https"})
STREAM_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "tcp", "srt", *FILE_SCHEMES})
CAMERA_SCHEMES = frozenset({"csi", "picamera"})
STDIN = "-"

_EXPECTED = "a file, folder, URL, camera number, - or scene:"
_SECRETS = re.compile(r"pass|pw|token|key|auth|secret|sig", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Address:
    """Where one source is, found but not opened.

    Attributes:
        text: what to open: a path, URL or number.
        kind: what will be there.
        name: a short name, fit for a folder.
        files: the files of a source of kind ``images``.
        unread: a line about what lies beside them and is not read; empty where nothing does.
    """

    text: str
    kind: Kind
    name: str
    files: tuple[str, ...] = ()
    unread: str = ""

    @property
    def scheme(self) -> str | None:
        """The lower-case word before ``://``, ``gst:`` or ``scene:``; None for numbers, paths and stdin."""
        return _scheme(self.text)

    @property
    def is_pipe(self) -> bool:
        """Whether it is stdin or a named pipe: it ends, cannot be opened again, and its writer can wait."""
        return self.kind == "stream" and self.scheme is None

    @property
    def is_datagrams(self) -> bool:
        """Whether nobody answers there: a sender that comes back is heard by the socket that waits."""
        return self.scheme in ("udp", "rtp")

    @property
    def uri(self) -> str:
        """The text without passwords."""
        return without_secrets(self.text)

    @property
    def title(self) -> str:
        """What it is called in messages: the URI, and "camera 0" where that is a number alone."""
        return f"camera {self.uri}" if self.uri.isdecimal() else self.uri

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that it reads; none for live sources, URLs and scenes."""
        if self.kind == "video" and self.scheme is None:
            return (Path(self.text),)
        return tuple(Path(file) for file in self.files)


def find_addresses(text: str) -> list[Address]:
    """The sources that a text stands for: one, or several for a folder or glob with videos in it.

    Raises:
        SourceError: there is no such file, or nothing to read in the folder.
        OptionError: a URL of a kind that is not read.
    """
    scheme = _scheme(text)
    if scheme is not None:
        return [_url_address(text, scheme)]
    if text == STDIN:
        return [Address(text, "stream", "stdin")]
    if not text.strip():
        raise OptionError(f"the source is empty; expected {_EXPECTED}")
    path = Path(text)
    if re.fullmatch(r"\d{1,3}|/dev/(video\d|v4l/).*", text) or path.is_char_device():
        return [Address(text, "camera", folder_name(f"camera-{path.name}"))]
    if path.exists():
        return _addresses_in(path) if path.is_dir() else [_file_address(path)]
    if glob.has_magic(text):
        return _addresses_of(text, _distinct(glob.glob(text, recursive=True)))  # noqa: PTH207 - also an absolute one
    raise SourceError(
        f"{text}: no such file or folder; expected a video, an image, a folder, a glob in quotes, a stream URL, "
        "a camera number such as 0, - for stdin, or scene:"
    )


def folder_name(text: str) -> str:
    """The text as a name for a folder: letters, digits, dot, dash and underscore, never empty or hidden."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._-")[:80] or "source"


def without_secrets(text: str) -> str:
    """A URL without its password, and without what looks like a key in its path or query."""
    scheme = _scheme(text)
    if scheme in (None, "scene"):
        return text
    if scheme == "gst":
        shown = re.sub(r"(://[^@:/\s]*):[^@\s]*@", r"\1:***@", text)
        return re.sub(r"([\w-]*(?:pw|pass|token|secret)[\w-]*=)[^\s!]+", r"\1***", shown)
    parts = urllib.parse.urlsplit(text)
    netloc = re.sub(r"^([^@:]*):.*@", r"\1:***@", parts.netloc)
    path = re.sub(r"((?:pass|pw)\w*=)[^&/;_]*", r"\1***", parts.path, flags=re.IGNORECASE)  # as some cameras have it
    query = "&".join(
        f"{name}=***" if _SECRETS.search(name) else field
        for field in parts.query.split("&")
        for name in (field.split("=")[0],)
    )
    return urllib.parse.urlunsplit(parts._replace(netloc=netloc, path=path, query=query))


def in_order(names: Sequence[str]) -> list[str]:
    """Names as people order them: 2 before 10."""
    return sorted(names, key=lambda name: ([_part(part) for part in re.split(r"(\d+)", name)], name))


def _part(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdecimal() else (-1, text.casefold())


def _scheme(text: str) -> str | None:
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://|(gst|scene):", text)
    return (match.group(1) or match.group(2)).lower() if match else None


def _url_address(text: str, scheme: str) -> Address:
    if scheme == "scene":
        return Address(text, "scene", "scene")
    if scheme == "gst":
        return Address(text, "stream", "gst")
    if scheme in CAMERA_SCHEMES:
        return _numbered_camera(text, scheme)
    if scheme == "v4l2":
        return _device(text)
    if scheme not in STREAM_SCHEMES:
        raise OptionError(
            f"{without_secrets(text)}: {scheme}:// is not read; expected "
            f"{', '.join(sorted(STREAM_SCHEMES | CAMERA_SCHEMES | {'v4l2'}))}"
        )
    parts = urllib.parse.urlsplit(text)
    path = Path(urllib.parse.unquote(parts.path))
    is_file = scheme in FILE_SCHEMES and path.suffix.lower() in VIDEO_SUFFIXES - {".mjpg", ".mjpeg"}
    shown = urllib.parse.urlsplit(without_secrets(text))
    name = path.stem if is_file else f"{shown.netloc.rpartition('@')[2]}{shown.path}"
    return Address(text, "video" if is_file else "stream", folder_name(name))


def _numbered_camera(text: str, scheme: str) -> Address:
    number = text.partition("://")[2].strip("/") or "0"
    if not re.fullmatch(r"\d{1,3}", number):
        raise OptionError(f"{text}: expected the number of a camera, such as {scheme}://0")
    return Address(f"{scheme}://{int(number)}", "camera", f"{scheme}-{int(number)}")


def _device(text: str) -> Address:
    path = Path("/" + text.partition("://")[2].strip("/"))
    if path.parts[:2] != ("/", "dev"):
        raise OptionError(f"{text}: expected a device, such as v4l2:///dev/video0")
    return Address(str(path), "camera", folder_name(f"camera-{path.name}"))


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
    folders = [file for file in files if Path(file).is_dir()]
    files = in_order([file for file in files if not Path(file).is_dir()])
    unread = _unread(text, files, folders)
    images = tuple(file for file in files if Path(file).suffix.lower() in IMAGE_SUFFIXES)
    videos = [file for file in files if Path(file).suffix.lower() in VIDEO_SUFFIXES]
    found = [Address(file, "video", folder_name(Path(file).stem)) for file in videos]
    if images:
        found.insert(0, Address(text, "images", folder_name(_steady_part(text)), images, unread))
    if not found and unread:
        raise SourceError(unread)
    if not found:
        what = "no image or video among its files" if files else "no files there"
        raise SourceError(f"{text}: {what}; for subfolders give a glob in quotes, such as 'photos/**/*.jpg'")
    return found


def _steady_part(text: str) -> str:
    """The last part of a folder or glob that has no wildcard in it."""
    steady = [part for part in Path(text).absolute().parts if not glob.has_magic(part)]
    return steady[-1]


def _distinct(files: Sequence[str]) -> list[str]:
    """Each file once, by its shortest path: links to folders may lead in a circle."""
    found: dict[str, str] = {}
    for file in sorted(files, key=lambda file: (len(Path(file).parts), file)):
        found.setdefault(os.path.realpath(file), file)
    return list(found.values())


def _unread(text: str, files: Sequence[str], folders: Sequence[str]) -> str:
    """A line about the photographs of a folder or glob that are passed over; empty where there are none."""
    read = {Path(file).with_suffix("") for file in files if Path(file).suffix.lower() in IMAGE_SUFFIXES}
    others = [file for file in map(Path, files) if file.suffix.lower() in _OTHER_SUFFIXES]
    others = [file for file in others if file.with_suffix("") not in read]  # as cameras give both, .dng and .jpg
    looked_into = {os.path.realpath(Path(file).parent) for file in files}
    below = [folder for folder in folders if os.path.realpath(folder) not in looked_into and _holds_images(folder)]
    what, to_do = [], []
    if others:
        kinds = ", ".join(sorted({file.suffix.lower() for file in others}))
        what.append(f"{_count(len(others), 'file')} of other kinds ({kinds})")
        to_do.append("convert what is of other kinds to JPEG")
    if below:
        what.append(f"{_count(len(below), 'subfolder')} with images")
        to_do.append("name subfolders as sources of their own, or give a glob in quotes, such as 'photos/**/*.jpg'")
    return f"{text}: not read: {' and '.join(what)}; {'; '.join(to_do)}" if what else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _holds_images(folder: str) -> bool:
    """Whether photographs, of any kind, lie in a folder or below it; results of crackedge are none."""
    for _, folders, files in itertools.islice(os.walk(folder), _MOST_FOLDERS):
        folders[:] = [] if RESULTS in files else [name for name in folders if not name.startswith(".")]
        suffixes = {Path(file).suffix.lower() for file in files if not file.startswith(".")}
        if RESULTS not in files and suffixes & (IMAGE_SUFFIXES | _OTHER_SUFFIXES):
            return True
    return False
