"""``crackedge bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from crackedge.commands.options import cardless_options, engine_options, json_option, open_given_model
from crackedge.commands.terminal import StatusLine, write_json


@click.command()
@click.argument("model", default="nano")
@engine_options
@click.option("--stride", type=int, help="Pixels between windows, a multiple of 32 [default: dense 32, tiles 128].")
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    type=click.Choice(["tile", "frame", "stream"]),
    help="What to time; may be given again [default: all].",
)
@click.option("--duration", type=float, default=5.0, show_default=True, help="Seconds of measuring for each scenario.")
@click.option("--size", default="1920x1080", show_default=True, help="Frames, WIDTHxHEIGHT.")
@click.option("--fps", type=float, default=30.0, show_default=True, help="Pace of the camera in `stream`.")
@json_option("Write raw samples here.")
@cardless_options
def bench(model: str, duration: float, size: str, fps: float, json_file: Path | None, **options: Any) -> None:
    """Latency of a model on this machine: a tile, a frame, a camera's stream.

    \b
    crackedge bench
    crackedge bench mine.tflite --threads 4 --json bench.json
    """
    from crackedge.benchmarks.latency import SCENARIOS, format_bench, parse_size
    from crackedge.benchmarks.latency import bench as bench_model

    with StatusLine() as line:
        result = bench_model(
            open_given_model({"model": model, **options}),
            scenarios=options["scenarios"] or tuple(SCENARIOS),
            duration_s=duration,
            size=parse_size(size),
            fps=fps,
            engine=options["engine"],
            stride=options["stride"],
            threads=options["threads"],
            progress=lambda scenario: line.show(f"measuring {scenario} ..."),
        )
    click.echo(format_bench(result))
    if json_file is not None:
        write_json(json_file, result)
