"""``crackedge export``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from crackedge.commands import exit_codes
from crackedge.commands.terminal import StatusLine
from crackedge.commands.workstation import require_workstation


@click.command()
@click.argument("source", metavar="RUN_OR_FILE", type=click.Path(path_type=Path))
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="The .tflite file to write.")
@click.option(
    "--data-root",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of data sets; the files are proven and measured on their val/.",
)
@click.option(
    "--variants",
    default="int8",
    show_default=True,
    help="One or more of int8, float32, float16, dynamic and int16x8, with commas between them, or all. Several are "
    "written as NAME-VARIANT.tflite, with a table that compares their cost on this machine and their quality.",
)
@click.option("--pick", is_flag=True, help="With several variants: keep only the fastest proven one, as the output.")
@click.option("--calibrate-from", metavar="VIDEO", help="Footage to quantise int8 with, instead of the photographs.")
@click.option(
    "--head",
    type=click.Choice(["logit-map", "probability"]),
    help="What the network ends in. probability: the conventional N x 224 x 224 x 3 to N x 1, for other runtimes "
    "[default: the source's].",
)
@click.option("--name", help="Name of the model [default: the recipe's].")
@click.option(
    "--input-range",
    help="For a Keras file not made by crackedge that does not state it: the range of pixels in training, 0..1, -1..1, "
    "0..255 or caffe.",
)
@click.option(
    "--crack-index",
    type=click.IntRange(0, 1),
    default=1,
    help="For a Keras file not made by crackedge: which output, 0 or 1, is the crack class [default: 1].",
)
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
def export(source: Path, output: Path, data_root: Path, variants: str, **options: Any) -> int:
    """Turn a network into proven .tflite files with a card inside.

    RUN_OR_FILE is the folder of a training run, or a .keras or .h5 file of any crack classifier. A file that does not
    decide as the network does is not written: exit code 5.

    \b
    crackedge export runs/mine --data-root photos/ -o mine.tflite
    crackedge export runs/mine --data-root photos/ -o mine.tflite --variants all --pick
    crackedge export theirs.h5 --data-root photos/ -o theirs.tflite --input-range 0..1
    """
    require_workstation("export")
    from crackedge.export.convert import VARIANTS
    from crackedge.export.pipeline import export_network
    from crackedge.export.variants import format_table
    from crackedge.train.pack import opened

    wanted = VARIANTS if variants == "all" else tuple(name.strip() for name in variants.split(","))
    with StatusLine() as line, opened(data_root) as root:
        made = export_network(
            source,
            output,
            data_root=root,
            wanted=wanted,
            report=lambda stage: line.show(f"{stage} ..."),
            **options,
        )
    for note in made.notes:
        click.echo(f"{source}: {note}", err=True)
    if made.table is not None:
        click.echo(format_table(made.table))
    if made.log is not None:
        click.echo(f"{made.log}: what the converter said", err=True)
    for file in made.files:
        click.echo(
            f"{file.path}: {file.size / 1e6:.2f} MB, {file.card.quantization}; {file.agreement}. "
            f"Next: crackedge run VIDEO --model {shlex.quote(str(file.path))}"
        )
        for figures in file.figures:
            click.echo(f"  {figures}")
    for doubt in made.doubts:
        click.echo(doubt, err=True)
    return exit_codes.PROOF if made.failed and not options["pick"] else 0
