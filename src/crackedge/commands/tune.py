"""``crackedge tune``."""

from __future__ import annotations

import click

from crackedge.commands.scan_options import delegate_option


@click.command()
@click.argument("model", default="nano")
@click.option(
    "--engine",
    type=click.Choice(["auto", "tiles", "dense"]),
    default="auto",
    show_default=True,
    help="Engine to tune; auto: as the model's card says.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="How long to measure, in seconds.",
)
@delegate_option
def tune(model: str, engine: str, seconds: float, delegate: str | None) -> None:
    """Find the fastest settings for a model on this device.

    `crackedge run` uses them. Only the numbers of threads, of interpreters side by side and of tiles at once are tuned,
    never anything that results depend on. The choice is kept in the user's cache folder, by model, device and
    interpreter.

    \b
    crackedge tune
    crackedge tune mine.tflite --engine tiles --seconds 30

    Exit codes: 0 done, 1 failed, 2 wrong use.
    """
    from crackedge.edge_runtime.models.model import open_model
    from crackedge.edge_runtime.scan.tuning import format_tuning
    from crackedge.edge_runtime.scan.tuning import tune as tune_model

    click.echo(format_tuning(tune_model(open_model(model, delegate=delegate), engine=engine, seconds=seconds)))
