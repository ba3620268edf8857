"""Applicability: which options mean something for which sources. The others are refused by name, never ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.sources.addresses import Address

if TYPE_CHECKING:
    from crackedge.edge_runtime.sources.source import SourceOptions


def refuse_misfits(address: Address, options: SourceOptions) -> None:
    """Refuse options that cannot apply to a source, before it is opened.

    Raises:
        OptionError: names the source and the option.
    """
    for option, misfit, why in _rules(address, options):
        if misfit:
            raise OptionError(f"{address.title}: {option} does not apply; {why}")


def _rules(address: Address, options: SourceOptions) -> list[tuple[str, bool, str]]:
    """Option, whether it is given and cannot apply, and why."""
    camera = address.kind == "camera"
    images = address.kind == "images"
    waits = not (camera or address.kind == "stream") or (address.is_pipe and options.realtime is False)
    raw = options.raw is not None
    clock = "images have no times of their own; give them a rate with fps"
    untimed = images and options.fps is None
    endless = "what is live has neither beginning nor end"
    return [
        ("size", options.size_wh is not None and not camera, "only cameras can be asked for one"),
        (
            "fps",
            options.fps is not None and not (camera or images or raw),
            "it has a rate of its own",
        ),
        ("raw", raw and not (address.is_pipe or (address.kind == "video" and address.paths)), "it is no pipe or file"),
        ("start", options.start_s > 0 and not waits, endless),
        ("start", options.start_s > 0 and untimed, clock),
        ("end", options.end_s is not None and not waits, endless),
        ("end", options.end_s is not None and untimed, clock),
        ("every", options.every > 1 and not waits, "what is live drops frames as it must; give seconds, such as 0.5s"),
        ("every", options.every_s > 0 and untimed, clock),
        ("loop", options.loop and (address.is_pipe or not waits), "it can be read only once"),
        ("realtime", options.realtime is True and untimed, clock),
        ("realtime", options.realtime is True and not (waits or address.is_pipe), "it is live already"),
        ("no-realtime", options.realtime is False and not waits, "only files and pipes can be made to wait"),
    ]
