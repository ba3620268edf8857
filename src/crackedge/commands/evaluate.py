"""``crackedge evaluate``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from crackedge.commands.options import (
    cardless_options,
    engine_options,
    json_option,
    model_option,
    open_given_model,
    value_clear_option,
)
from crackedge.commands.terminal import StatusLine, write_json


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@model_option
@engine_options(both="dense, and how tiles compares")
@cardless_options
@click.option("--split", default="val", show_default=True, help="Which split of each set: train, val, test.")
@value_clear_option
@click.option("--operating-point", help="Named thresholds of the model's card [default: the card's default].")
@json_option("Write figures and scores here.")
def evaluate(data: Path, split: str, value_clear: tuple[int, ...], json_file: Path | None, **options: Any) -> None:
    """Figures of a model on labelled photographs, each set for itself.

    DATA is one set (crack/ and no_crack/; images/ and masks/; images/ and boxes/) or a folder of sets.

    \b
    crackedge evaluate photos/ --json figures.json
    crackedge evaluate photos/ --engine both
    crackedge evaluate roads/ --split train --value-clear 64
    """
    from crackedge.benchmarks.data_sets import find_sets
    from crackedge.benchmarks.engine_agreement import evaluate_both, format_engines
    from crackedge.benchmarks.evaluation import evaluate as evaluate_model
    from crackedge.benchmarks.evaluation import format_evaluation

    engine = options["engine"]
    judge = evaluate_both if engine == "both" else partial(evaluate_model, engine=engine)
    with StatusLine() as line:
        result = judge(
            open_given_model(options),
            find_sets(data, split=split, value_clear=value_clear),
            operating_point=options["operating_point"],
            threads=options["threads"],
            progress=lambda name, done, total: line.show(f"{name}: {done}/{total}"),
        )
    click.echo(format_evaluation(result))
    if "engines" in result:
        click.echo(f"\n{format_engines(result['engines'])}")
    if json_file is not None:
        write_json(json_file, result)
