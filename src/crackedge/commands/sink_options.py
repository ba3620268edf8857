"""Options for where results go."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from crackedge.edge_runtime.sinks.rotation import RotationOptions


def sink_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--sink``, rotation, ``--serve``."""
    for option in (
        click.option(
            "--serve-token",
            envvar="CRACKEDGE_TOKEN",
            help="Token that visitors of the live view must give, as ?token=... [default: CRACKEDGE_TOKEN, or none].",
        ),
        click.option(
            "--serve",
            metavar="[HOST:]PORT",
            help="Serve a live view to a browser; only on this machine, unless a host and a token are given.",
        ),
        click.option("--keep-mb", type=float, help="Megabytes that outputs may take together; the oldest are deleted."),
        click.option("--part-s", type=float, help="Seconds after which files continue in a new part."),
        click.option("--part-mb", type=float, help="Megabytes after which a file continues in a new part."),
        click.option(
            "--sink",
            "sinks",
            multiple=True,
            metavar="URI",
            help="Another output: jsonl:PATH, jsonl:- (stdout), csv:PATH, video:PATH, images:FOLDER, crops:FOLDER, "
            "window:, udp://HOST:PORT, tcp://HOST:PORT, mqtt://HOST/TOPIC, exec:COMMAND. May be repeated.",
        ),
    ):
        command = option(command)
    return command


def given_rotation(options: dict[str, Any]) -> RotationOptions:
    """When files go on in a new part, and how much is kept."""
    from crackedge.edge_runtime.sinks.rotation import RotationOptions

    return RotationOptions(**{name: options[name] for name in ("part_mb", "part_s", "keep_mb")})


def take_stdout(options: dict[str, Any]) -> bool:
    """Whether results go to stdout, so that all else goes to stderr."""
    return "jsonl:-" in options["sinks"]
