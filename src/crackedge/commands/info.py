"""``crackedge info``."""

from __future__ import annotations

from pathlib import Path

import click

from crackedge.commands.options import json_option
from crackedge.commands.terminal import StatusLine, write_json


@click.command()
@click.argument("model", default="nano")
@click.option("--no-time", is_flag=True, help="Do not measure how long each operation takes; measuring takes seconds.")
@click.option("--threads", type=click.IntRange(1), help="Interpreter threads [default: processors, up to 4].")
@json_option("Write everything, with the samples, to this file.")
def info(model: str, no_time: bool, threads: int | None, json_file: Path | None) -> None:
    """Show what is in a model file, and where its time goes.

    This shows its card and graph, the time of its operations on this device, and what is not accelerated. MODEL is the
    name of a shipped model, or any .tflite file with one image as input and one output, with or without a card.

    \b
    crackedge info
    crackedge info mine.tflite --no-time --json info.json

    Exit codes: 0 done, 1 failed, 2 wrong use.
    """
    from crackedge.benchmarks.inspection import format_inspection, inspect_model

    with StatusLine() as line:
        result = inspect_model(model, time=not no_time, threads=threads, progress=line.show)
    if json_file is not None:
        write_json(json_file, result)
    click.echo(format_inspection(result))
