"""``crackedge verify``."""

from __future__ import annotations

from pathlib import Path

import click

from crackedge.commands.options import json_option
from crackedge.commands.terminal import StatusLine, write_json


@click.command()
@click.argument("model", default="nano")
@click.option(
    "--data", type=click.Path(path_type=Path), help="Also measure accuracy and AUC on these sets, beside the card's."
)
@click.option("--threads", type=click.IntRange(1), help="Threads to prove besides one [default: processors, up to 4].")
@json_option("Write the result to this file.")
def verify(model: str, data: Path | None, threads: int | None, json_file: Path | None) -> None:
    """Prove that this device computes what was exported.

    This checks the file's sha256, its golden vectors on one thread and on all, and a whole frame, a cut of it, and its
    tiles.

    \b
    crackedge verify
    crackedge verify mine.tflite --data photos/ --json proof.json

    Exit code 5 if a proof fails.
    """
    from crackedge.benchmarks.data_sets import find_sets
    from crackedge.benchmarks.verification import format_verification
    from crackedge.benchmarks.verification import verify as verify_model
    from crackedge.edge_runtime.errors import ProofError

    with StatusLine() as line:
        result = verify_model(
            model,
            sets=find_sets(data) if data is not None else (),
            threads=threads,
            progress=lambda name, done, total: line.show(f"{name}: {done}/{total}"),
        )
    if json_file is not None:
        write_json(json_file, result)
    click.echo(format_verification(result))
    failed = next((check for check in result["checks"] if not check["passed"]), None)
    if failed is not None:
        raise ProofError(f"{result['model']['file']}: not proven here: {failed['name']}: {failed['found']}")
