"""``crackedge calibrate``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from crackedge.commands.options import cardless_options, open_given_model, value_clear_option
from crackedge.commands.terminal import StatusLine


@click.command()
@click.argument("model")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="The .tflite file to write.")
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
@click.option("--threads", type=click.IntRange(1), help="Interpreter threads [default: processors, up to 4].")
@value_clear_option
@cardless_options
def calibrate(
    model: str, data: Path, output: Path, overwrite: bool, value_clear: tuple[int, ...], **options: Any
) -> None:
    """Fit a model to your own site, from a few labelled photographs.

    This fits its probabilities and thresholds; the network does not change. Ten tiles with cracks and ten without
    already help. From 40 of each on, half of them are held back to measure the figures. DATA is one set (crack/ and
    no_crack/; images/ and masks/; images/ and boxes/) or a folder of sets.

    \b
    crackedge calibrate nano site/ -o nano-site.tflite

    Exit codes: 0 done, 1 failed, 2 wrong use.
    """
    from crackedge.benchmarks.card_calibration import calibrate as calibrate_model
    from crackedge.benchmarks.card_calibration import format_calibrated
    from crackedge.benchmarks.data_sets import find_sets

    opened = open_given_model({"model": model, **options})
    with StatusLine() as line:
        made = calibrate_model(
            opened,
            find_sets(data, value_clear=value_clear),
            output,
            overwrite=overwrite,
            threads=options["threads"],
            progress=lambda name, done, total: line.show(f"{name}: {done}/{total}"),
        )
    told = not opened.has_card and opened.card.head == "probability"
    click.echo(
        format_calibrated(
            made, crack_index=opened.crack_index if told else None, input_range=options["input_range"] if told else None
        )
    )
    click.echo(f"{made.path}: calibrated. Next: crackedge run VIDEO --model {shlex.quote(str(made.path))}")
