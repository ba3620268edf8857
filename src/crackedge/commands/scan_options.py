"""Options that say how frames are scanned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_SCANNER = (
    "engine",
    "stride",
    "threshold",
    "operating_point",
    "threads",
    "interpreters",
    "batch",
    "tune",
    "gsd_mm",
    "reuse",
    "target_fps",
    "max_latency_ms",
    "refresh_s",
)  # go to the Scanner as they are

delegate_option = click.option(
    "--delegate", metavar="LIB[,KEY=VALUE...]", help="An external TFLite delegate, such as libedgetpu.so.1."
)

_OPTIONS = (
    click.option("--stride", type=int, help="Pixels between windows, a multiple of 32 [default: dense 32, tiles 128]."),
    click.option("--threshold", type=float, help="Probability from which a window is cracked, instead of the card's."),
    click.option("--operating-point", help="Thresholds of the card to use: balanced, high-recall or high-precision."),
    click.option(
        "--scale",
        "scales",
        type=float,
        multiple=True,
        help="Enlarge frames by this factor before the scan: 1.5 for fine cracks. May be repeated: scores are fused.",
    ),
    click.option(
        "--gsd-mm",
        type=float,
        help="Millimetres that one pixel of the footage covers, instead of --scale. The model's card must state its "
        "own, which nano's and base's do not.",
    ),
    click.option(
        "--reuse", is_flag=True, help="Carry scores along with a moving camera; scan only what is new, changed or due."
    ),
    click.option("--target-fps", type=float, help="Frames a second to keep; what does not fit is scanned in bands."),
    click.option(
        "--max-latency-ms",
        type=float,
        help="Milliseconds from a frame's capture to its result; what does not fit is scanned in bands.",
    ),
    click.option(
        "--refresh-s",
        type=float,
        help="With --reuse, --target-fps or --max-latency-ms: seconds that a cell may stay unseen [default: 2].",
    ),
    click.option("--interpreters", type=click.IntRange(1), help="Interpreters side by side, for --engine tiles."),
    click.option(
        "--batch", type=click.IntRange(1), help="Tiles that one interpreter takes at once, for --engine tiles."
    ),
    click.option(
        "--tune/--no-tune",
        default=True,
        show_default=True,
        help="Use the fastest settings for this device; the first run finds them in 2 seconds or so. Results never "
        "change.",
    ),
    delegate_option,
)


def scan_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What :func:`scanner_options` and ``open_given_model`` take."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def scanner_options(options: dict[str, Any]) -> dict[str, Any]:
    """The keywords for a Scanner of an opened model."""
    given: dict[str, Any] = {name: options[name] for name in _SCANNER}
    if options["scales"]:
        given["scale"] = options["scales"]
    return given
