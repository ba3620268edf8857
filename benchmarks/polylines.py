"""Polylines of cracks in the frames of a video, drawn by eye, and the file that holds them.

The file is JSON: by name of the video ``size_wh`` (pixels of the frame as displayed), ``source`` (whose video it is)
and ``frames``; by frame index ``cracks`` and ``doubtful``, each a list of polylines, each a list of [x, y] in pixels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.errors import DataError

REFERENCE = Path(__file__).parent / "reference" / "crack_polylines.json"

_STEP_PX = 1.0  # between two points of a sampled polyline, at most

Floats = npt.NDArray[np.float64]
Polyline = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class FrameCracks:
    """What there is to see in one frame.

    Attributes:
        cracks: x, y of the points of each, in pixels.
        doubtful: the same, of lines that may be cracks.
    """

    cracks: Sequence[Polyline]
    doubtful: Sequence[Polyline] = ()


@dataclass(frozen=True, slots=True)
class VideoCracks:
    """What there is to see in the frames of one video that somebody looked at.

    Attributes:
        name: of the file.
        size_wh: of each frame, in pixels.
        frames: by index.
    """

    name: str
    size_wh: tuple[int, int]
    frames: dict[int, FrameCracks]


def read_polylines(path: Path, *, video: str) -> VideoCracks:
    """The polylines of one video.

    Raises:
        DataError: the file cannot be read, is malformed, or has none of this video.
    """
    try:
        videos = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a file of polylines") from error
    except ValueError as error:
        raise DataError(f"{path}: is no JSON ({error}); give a file of polylines") from error
    if not isinstance(videos, dict) or video not in videos:
        names = ", ".join(videos) if isinstance(videos, dict) else "no video at all"
        raise DataError(f"{path}: no polylines of {video!r}, but of {names}; name the one that was run")
    try:
        width, height = (int(side) for side in videos[video]["size_wh"])
        frames = {
            int(index): FrameCracks(_checked(frame["cracks"]), _checked(frame["doubtful"]))
            for index, frame in videos[video]["frames"].items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path}: the polylines of {video} are malformed ({reason}); expected size_wh, and frames with cracks and "
            "doubtful, each a list of lists of [x, y]"
        ) from error
    if not frames:
        raise DataError(f"{path}: no frames of {video}; expected at least one")
    return VideoCracks(video, (width, height), frames)


def sampled(polylines: Sequence[Polyline]) -> tuple[Floats, Floats]:
    """Points on polylines, at most a pixel apart, and the length that each stands for.

    Returns:
        (N, 2) x, y pixels: the corners, which stand for no length, and the middles of the steps between them; (N,)
        pixels.
    """
    points, lengths = [np.empty((0, 2))], [np.empty(0)]
    for polyline in polylines:
        corners = np.asarray(polyline, np.float64)
        edges = np.diff(corners, axis=0)
        edge_px = np.hypot(*edges.T)
        steps = np.maximum(1, np.ceil(edge_px / _STEP_PX)).astype(np.intp)
        edge = np.repeat(np.arange(len(edges)), steps)
        step = np.arange(len(edge)) - np.repeat(np.cumsum(steps) - steps, steps)
        points += [corners, corners[edge] + edges[edge] * ((step + 0.5) / steps[edge])[:, None]]
        lengths += [np.zeros(len(corners)), (edge_px / steps)[edge]]
    return np.vstack(points), np.concatenate(lengths)


def _checked(polylines: Sequence[Polyline]) -> list[Polyline]:
    for polyline in polylines:
        points = np.asarray(polyline, np.float64)
        if points.ndim != 2 or points.shape[0] < 2 or points.shape[1] != 2 or not np.isfinite(points).all():
            raise ValueError(f"a polyline of shape {points.shape}, or not finite")
    return list(polylines)
