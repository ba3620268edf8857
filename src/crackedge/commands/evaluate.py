"""``crackedge evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from crackedge.commands.options import (
    cardless_options,
    engine_options,
    json_option,
    model_option,
    open_given_model,
    value_clear_option,
)
from crackedge.commands.terminal import StatusLine, write_json

if TYPE_CHECKING:
    from crackedge.benchmarks.data_sets import LabelledSet


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@model_option
@engine_options(both="dense, compared with tiles")
@cardless_options
@click.option(
    "--split", default="val", show_default=True, help="Split to use of each set: train, val, test, or another folder."
)
@value_clear_option
@click.option("--operating-point", help="Which thresholds of the model's card to use [default: the card's default].")
@json_option("Write figures and scores to this file.")
def evaluate(data: Path, split: str, value_clear: tuple[int, ...], json_file: Path | None, **options: Any) -> None:
    """Measure how accurate a model is on labelled photographs.

    DATA is one set (crack/ and no_crack/; images/ and masks/; images/ and boxes/) or a folder of sets. Each set has its
    own figures.

    \b
    crackedge evaluate photos/ --json figures.json
    crackedge evaluate photos/ --engine both
    crackedge evaluate roads/ --split train --value-clear 64

    Exit codes: 0 done, 1 failed, 2 wrong use.
    """
    from crackedge.benchmarks.data_sets import find_sets
    from crackedge.benchmarks.engine_agreement import evaluate_both, format_engines
    from crackedge.benchmarks.evaluation import evaluate as evaluate_model
    from crackedge.benchmarks.evaluation import format_evaluation

    sets = find_sets(data, split=split, value_clear=value_clear)
    if click.get_current_context().get_parameter_source("split") is not ParameterSource.DEFAULT:
        _require_split(sets, split)
    engine = options["engine"]
    judge = evaluate_both if engine == "both" else partial(evaluate_model, engine=engine)
    with StatusLine() as line:
        result = judge(
            open_given_model(options),
            sets,
            operating_point=options["operating_point"],
            threads=options["threads"],
            progress=lambda name, done, total: line.show(f"{name}: {done}/{total}"),
        )
    if json_file is not None:
        write_json(json_file, result)
    click.echo(format_evaluation(result))
    if "engines" in result:
        click.echo(f"\n{format_engines(result['engines'])}")


def _require_split(sets: Sequence[LabelledSet], split: str) -> None:
    """Refuse sets that have no such split where somebody asked for it; otherwise they are given whole."""
    from crackedge.benchmarks.data_sets import SPLITS
    from crackedge.edge_runtime.errors import OptionError

    names = SPLITS.get(split, (split,))
    whole = [str(one.path) for one in sets if one.path.resolve().name not in names]
    if whole:
        raise OptionError(
            f"{', '.join(whole)}: no folder {' or '.join(names)}/; give sets that have one, or leave out --split"
        )
