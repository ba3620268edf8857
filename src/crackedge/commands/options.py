"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crackedge.commands.terminal import unwritable

if TYPE_CHECKING:
    from crackedge.edge_runtime.models.model import Model


def model_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--model``."""
    return click.option(
        "--model", "-m", default="nano", show_default=True, help="Name of a shipped model, or a .tflite file."
    )(command)


def engine_options(*, both: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--engine`` and ``--threads``; with what ``--engine both`` does where a command has it."""
    one = "dense: whole frames in one pass; tiles: one window after another; auto: as the model's card says"

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option(
                "--threads", type=click.IntRange(1), help="Interpreter threads [default: processors, up to 4]."
            ),
            click.option(
                "--engine",
                type=click.Choice(["auto", "tiles", "dense", *(["both"] if both else [])]),
                default="auto",
                show_default=True,
                help=f"{one}; both: {both}." if both else f"{one}.",
            ),
        ):
            command = option(command)
        return command

    return decorate


def cardless_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What a model without a card does not say itself."""
    for option in (
        click.option(
            "--crack-index",
            type=click.IntRange(0, 1),
            help="For a classifier without a card: which output, 0 or 1, is the crack class.",
        ),
        click.option(
            "--input-range",
            help="For a classifier without a card, with float input: the range of its pixels, 0..1, -1..1 or 0..255.",
        ),
    ):
        command = option(command)
    return command


def value_clear_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--value-clear``, of labelled photographs."""
    return click.option(
        "--value-clear",
        type=click.IntRange(0, 254),
        multiple=True,
        help="A value in masks that means crack-free; all others except 255 then mean unknown. May be repeated "
        "[default: all but 255].",
    )(command)


def json_option(help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--json``; see :func:`output_file_option`."""
    return output_file_option("--json", "json_file", help_text)


def output_file_option(flag: str, parameter: str, help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A file that can be written, which is looked at before the work begins."""
    return click.option(
        flag,
        parameter,
        type=click.Path(dir_okay=False, path_type=Path),
        callback=lambda _, __, file: _writable(file),
        help=help_text,
    )


def open_given_model(options: dict[str, Any]) -> Model:
    """The model that a command's options name."""
    from crackedge.edge_runtime.models.model import open_model

    return open_model(
        options["model"],
        input_range=options["input_range"],
        crack_index=options["crack_index"],
        delegate=options.get("delegate"),
    )


def _writable(file: Path | None) -> Path | None:
    """Refuse now what would fail after minutes of measuring."""
    if file is not None and not os.access(file if file.exists() else file.absolute().parent, os.W_OK):
        raise unwritable(file, "its folder is missing or write-protected")
    return file
