"""Options that say how sources are to be read."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from crackedge.edge_runtime.scan.area import Area
    from crackedge.edge_runtime.sources.source import SourceOptions


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not WIDTHxHEIGHT, such as 1280x720.")
    return int(match[1]), int(match[2])


def _position(text: str) -> float:
    match = re.fullmatch(r"(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:\.\d*)?)", text)
    seconds = float(match[3]) if match else 0.0
    if match is None or (match[2] is not None and seconds >= 60):
        raise click.BadParameter(f"{text!r} is neither seconds nor [H:]MM:SS.")
    return int(match[1] or 0) * 3600 + int(match[2] or 0) * 60 + seconds


def _every(text: str) -> tuple[int, float]:
    match = re.fullmatch(r"(\d+)|(\d+(?:\.\d*)?|\.\d+)s", text)
    frames, seconds = (int(match[1] or 1), float(match[2] or 0)) if match else (0, 0.0)
    if match is None or frames < 1 or (match[2] and seconds <= 0):
        raise click.BadParameter(f"{text!r} is neither a number of frames, such as 5, nor of seconds, such as 0.5s.")
    return frames, seconds


_OPTIONS = (
    click.option(
        "--camera", type=click.IntRange(0), multiple=True, help="Number of a camera; SOURCE may be that number too."
    ),
    click.option("--size", type=_size, metavar="WxH", help="Width and height in pixels to request from a camera."),
    click.option(
        "--fps", type=float, help="Frame rate to request from a camera, or of a series of images or --raw frames."
    ),
    click.option(
        "--raw",
        metavar="WxH[:FORMAT]",
        help="Read a pipe or file as bare frames of this size; FORMAT is bgr24, rgb24, gray, yuv420p or nv12.",
    ),
    click.option("--rotate", type=click.Choice(["90", "180", "270"]), help="Turn frames clockwise, in degrees."),
    click.option("--flip", type=click.Choice(["h", "v", "hv"]), help="Mirror frames: left-right, top-bottom or both."),
    click.option(
        "--start",
        type=_position,
        metavar="TIME",
        default="0",
        help="Begin a video at this position, in seconds or as [H:]MM:SS.",
    ),
    click.option(
        "--end", type=_position, metavar="TIME", help="End a video before this position, in seconds or as [H:]MM:SS."
    ),
    click.option(
        "--every",
        type=_every,
        metavar="N|SECONDSs",
        default="1",
        help="Scan one frame in N, or one in this many seconds, such as 0.5s.",
    ),
    click.option("--loop", is_flag=True, help="Start a file again whenever it ends, for ever."),
    click.option(
        "--realtime/--no-realtime",
        default=None,
        help="--realtime plays files at their own pace, newest frame first, as if live. --no-realtime reads every "
        "frame of a pipe.",
    ),
    click.option(
        "--roi",
        type=click.Path(path_type=Path),
        help='JSON file with polygons that say where to look: {"region": [[[x, y], ...]], "ignore": [...]}.',
    ),
    click.option("--open-s", type=float, help="Seconds that a camera or stream may take to open [default: 10]."),
    click.option("--read-s", type=float, help="Seconds without a frame before a source is opened again [default: 5]."),
    click.option("--give-up-s", type=float, help="Seconds without a frame before a source is given up [default: 60]."),
)


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """All that :func:`given_reading` and :func:`given_area` read, and ``--camera``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def given_reading(options: dict[str, Any]) -> SourceOptions:
    """How a command's options want sources to be read."""
    from crackedge.edge_runtime.sources.pipe import parse_raw
    from crackedge.edge_runtime.sources.source import SourceOptions

    every, every_s = options["every"]
    patience = {name: options[name] for name in ("open_s", "read_s", "give_up_s") if options[name] is not None}
    return SourceOptions(
        size_wh=options["size"],
        fps=options["fps"],
        rotate=int(options["rotate"] or 0),
        flip=options["flip"] or "",
        start_s=options["start"],
        end_s=options["end"],
        every=every,
        every_s=every_s,
        loop=options["loop"],
        realtime=options["realtime"],
        raw=parse_raw(options["raw"]) if options["raw"] is not None else None,
        **patience,
    )


def refuse_raw(texts: Sequence[str]) -> None:
    """Refuse ``--raw`` for files that are videos by their names: their bytes would be taken for pixels.

    Raises:
        OptionError: names the first of them.
    """
    from crackedge.edge_runtime.errors import OptionError
    from crackedge.edge_runtime.sources.addresses import VIDEO_SUFFIXES, find_addresses

    for path in (path for text in texts for address in find_addresses(text) for path in address.paths):
        if path.suffix.lower() in VIDEO_SUFFIXES:
            raise OptionError(f"{path}: --raw is for bare frames, and {path.suffix} is a video; leave out --raw")


def given_area(options: dict[str, Any]) -> Area | None:
    """Where a command's options want cracks to be looked for."""
    from crackedge.edge_runtime.scan.area import read_area

    return read_area(options["roi"]) if options["roi"] is not None else None
