"""What is measured on: the frames of a synthetic wall, or of the user's own footage, in memory and as a video.

Never noise: what a network sees changes neither its work nor its time, but how many regions there are to find and to
draw does, and so does what a decoder and an encoder have to do.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from crackedge.edge_runtime.errors import OptionError, SourceError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.output_file import as_output_error
from crackedge.edge_runtime.scenes.scene import parse_scene

if TYPE_CHECKING:
    from typing import Self

SIZE = (1920, 1080)  # of the scene

_FRAMES = 8  # different ones in memory, taken in turn
_STEP = 3  # frames of a video between two that are taken
_FPS = 25


@dataclass(frozen=True, slots=True, eq=False)
class Footage:
    """What is measured on.

    Attributes:
        frames: (H, W, 3) uint8 RGB, all of one size, at least one.
        clip: a video of them, or the user's own; None where none is needed.
        source: ``"scene"``, or where the user's own came from, without passwords.
    """

    frames: Sequence[Image]
    clip: Path | None
    source: str

    def describe(self) -> dict[str, Any]:
        """Ready to be written as JSON."""
        height, width = self.frames[0].shape[:2]
        return {"width": width, "height": height, "pictures": len(self.frames), "source": self.source}


def scene_frames(*, width: int = SIZE[0], height: int = SIZE[1], count: int = _FRAMES) -> list[Image]:
    """Frames of a synthetic wall with cracks, (height, width, 3) uint8 RGB, always the same."""
    return [frame.image for frame in parse_scene(f"scene:concrete?seed=7&frames={count}&size={width}x{height}")]


def make_footage(folder: Path, *, source: str | None = None, size: tuple[int, int] | None = None) -> Footage:
    """Frames to measure on, and a video of them in H.264.

    Args:
        folder: where the video is written to.
        source: video, photographs or camera to take the frames from; None renders a scene. A video is itself what is
            decoded, unless a size is asked for.
        size: width and height in pixels; of the user's footage its own, 1920x1080 of the scene, unless given.

    Raises:
        SourceError: the source gives no frames.
        LiveSourceError: the camera is absent.
        OptionError: the source is none that can be read.
    """
    clip = folder / "clip.mp4"
    if source is None:
        width, height = size or SIZE
        frames = scene_frames(width=width, height=height, count=_FRAMES * _STEP)
        write_clip(clip, frames)
        return Footage(frames[::_STEP], clip, "scene")
    frames, own_clip, uri = _frames_of(source)
    if size is not None:
        frames = [np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8) for frame in frames]
        own_clip = None
    if own_clip is None:
        write_clip(clip, frames)
    return Footage(frames, own_clip or clip, uri)


class FootageStore:
    """A folder of footage for the processes that measure, made once for each size. A context manager.

    Args:
        source: as for :func:`make_footage`.

    Attributes:
        folder: where it is; gone at the end.
    """

    def __init__(self, source: str | None = None) -> None:
        self._source = source
        self._made: dict[tuple[int, int] | None, tuple[Footage, str]] = {}
        self._temporary = tempfile.TemporaryDirectory(prefix="crackedge-bench-")
        self.folder = Path(self._temporary.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._temporary.cleanup()

    def take(self, size: tuple[int, int] | None) -> tuple[Footage, str]:
        """Footage of a size, and the name of the file in the folder that has its frames, (N, H, W, 3) uint8.

        Raises:
            OutputError: there is no room for it.
            CrackedgeError: as :func:`make_footage`.
        """
        if size not in self._made:
            place = self.folder / ("own" if size is None else f"{size[0]}x{size[1]}")
            with as_output_error(place):
                place.mkdir()
            footage = make_footage(place, source=self._source, size=size)  # whose own errors say what is wrong
            with as_output_error(place):
                np.save(place / "frames.npy", np.stack(footage.frames))
            self._made[size] = footage, f"{place.name}/frames.npy"
        return self._made[size]


def write_clip(path: Path, frames: Iterable[Image]) -> None:
    """Write frames of one size as a video in H.264: 25 a second, a key frame every second, even sides."""
    import av
    import av.error
    from av.video.frame import VideoFrame

    pictures = iter(frames)
    first = next(pictures)
    height, width = (side // 2 * 2 for side in first.shape[:2])  # 4:2:0 has no half pixels
    with as_output_error(path, av.error.FFmpegError), av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(_FPS), options={"preset": "veryfast", "g": str(_FPS)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number, image in enumerate(itertools.chain([first], pictures)):
            picture = VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), "rgb24")
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def parse_size(text: str) -> tuple[int, int]:
    """Width and height in pixels from ``WIDTHxHEIGHT``.

    Raises:
        OptionError: it is not that.
    """
    width, cross, height = text.strip().lower().partition("x")
    if not (cross and width.isascii() and height.isascii() and width.isdigit() and height.isdigit()):
        raise OptionError(f"size {text!r}: expected WIDTHxHEIGHT in pixels, such as 1920x1080")
    if not (int(width) and int(height)):
        raise OptionError(f"size {text!r}: expected at least 1x1 pixels")
    return int(width), int(height)


def _frames_of(text: str) -> tuple[list[Image], Path | None, str]:
    """Some frames of a source, all of the first one's size; the file of a video; and where, without passwords."""
    from crackedge.edge_runtime.sources.addresses import find_addresses
    from crackedge.edge_runtime.sources.opening import open_source

    with open_source(text) as source:
        step = _STEP if source.kind == "video" else 1  # photographs and a camera's frames are not as much alike
        taken = [frame.image for frame in itertools.islice(source, 0, _FRAMES * step, step)]
    frames = [image for image in taken if image.shape == taken[0].shape]
    if not frames:
        raise SourceError(f"{text}: not one frame in it; give another --source")
    address = find_addresses(text)[0]
    return frames, address.paths[0] if address.kind == "video" and address.paths else None, address.uri
