"""``crackedge bench``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crackedge.commands.options import cardless_options, json_option, open_given_model, output_file_option
from crackedge.commands.terminal import StatusLine, write_json, write_text

if TYPE_CHECKING:
    from crackedge.benchmarks.footage import FootageStore
    from crackedge.benchmarks.sweep import Plan

_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


def _duration(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Seconds, from ``90``, ``90s``, ``10m`` or ``1h``."""
    from crackedge.edge_runtime.errors import OptionError

    if value is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|)\s*", value)
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not seconds:
        raise OptionError(f"duration {value}: expected more than 0, such as 5, 90s, 10m or 1h")
    return seconds


def _values(one: Callable[[str], object]) -> Callable[[click.Context, click.Parameter, str | None], list[object]]:
    """One or several values with commas between them; several make a sweep."""
    return lambda _, __, value: [None] if value is None else [one(part.strip()) for part in value.split(",")]


def _whole(text: str) -> int:
    from crackedge.edge_runtime.errors import OptionError

    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise OptionError(f"{text!r}: expected a whole number of at least 1, or several with commas between them")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    from crackedge.benchmarks.footage import parse_size

    return parse_size(text)


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--engine",
    default="auto",
    show_default=True,
    metavar="VALUE,...",
    callback=_values(str),
    help="Engine: dense, tiles or auto, as for `crackedge run`.",
)
@click.option(
    "--stride",
    metavar="VALUE,...",
    callback=_values(_whole),
    help="Pixels between windows [default: dense 32, tiles 128].",
)
@click.option(
    "--threads",
    metavar="VALUE,...",
    callback=_values(_whole),
    help="Interpreter threads [default: processors, up to 4].",
)
@click.option(
    "--size",
    metavar="VALUE,...",
    callback=_values(_size),
    help="Frame size to measure at [default: 1920x1080, or the source's].",
)
@click.option(
    "--source",
    metavar="SOURCE",
    help="Your own footage to measure on: a video, photographs, a camera [default: a scene].",
)
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    type=click.Choice(["tile", "frame", "stream", "file", "cold", "null"]),
    help="What to time; may be repeated [default: all; only frame if several plans are compared].",
)
@click.option(
    "--duration",
    metavar="TIME",
    callback=_duration,
    default="4s",
    show_default=True,
    help="How long to measure each scenario, all processes together.",
)
@click.option("--restarts", type=click.IntRange(1), default=3, show_default=True, help="How many processes measure.")
@click.option("--fps", type=float, default=30.0, show_default=True, help="Frame rate of the camera in `stream`.")
@click.option(
    "--sustain", metavar="TIME", callback=_duration, help="Scan for so long, such as 10m, and show how the pace holds."
)
@click.option("--data", type=click.Path(path_type=Path), help="Measure accuracy on these labelled sets as well.")
@click.option("--target-fps", type=click.FloatRange(0, min_open=True), help="Report which plans keep this pace.")
@click.option(
    "--board", metavar="NAME", help="With --target-fps: estimate for another board, by name or from a JSON file."
)
@click.option(
    "--compare",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Compare with the --json file of an earlier measurement; exit code 5 if slower.",
)
@click.option(
    "--fail-over",
    metavar="SHARE",
    default="10%",
    show_default=True,
    help="With --compare: how much slower is too slow.",
)
@click.option("--force", is_flag=True, help="With --compare: compare even if machine, model, plan or input differ.")
@json_option("Write figures and raw samples to this file.")
@output_file_option("--html", "html_file", "Write a page with tables and plots to this file.")
@cardless_options
def bench(models: tuple[str, ...], json_file: Path | None, html_file: Path | None, **options: Any) -> None:
    """Measure how fast a model is on this machine.

    The times have confidence intervals. The model's accuracy is reported beside them.

    tile: one call of the network. frame: from a frame in memory to its cracks. stream: from a camera's frame to its
    written result. file: a video, as fast as possible. cold: from the start of a process to its first result. null:
    the harness itself. Several models, or several values with commas between them, are compared.

    \b
    crackedge bench
    crackedge bench mine.tflite --source flight.mp4 --json now.json --html now.html
    crackedge bench nano base --threads 1,2,4 --size 1280x720,1920x1080
    crackedge bench --target-fps 10
    crackedge bench --target-fps 10 --board raspberry-pi-5
    crackedge bench --compare before.json --fail-over 10%

    Exit code 5 if --compare finds that it is slower by more than --fail-over, with certainty.
    """
    from crackedge.benchmarks.comparison import parse_share, read_bench
    from crackedge.benchmarks.footage import FootageStore
    from crackedge.benchmarks.latency import SCHEMA
    from crackedge.benchmarks.sweep import plans_of
    from crackedge.edge_runtime.models.model import shipped_models

    fail_over = parse_share(options["fail_over"])
    base = None if options["compare"] is None else read_bench(options["compare"], schema=SCHEMA)
    target_fps = options["target_fps"]
    if options["board"] is not None and target_fps is None:
        raise click.UsageError("--board estimates whether a pace is kept; give --target-fps too")
    names = models or (tuple(shipped_models()) if target_fps is not None else ("nano",))
    opened = [open_given_model({"model": name, **options}) for name in names]
    engines = options["engine"]
    if target_fps is not None and engines == ["auto"]:
        engines = ["dense", "tiles"] if any(model.card.head == "logit-map" for model in opened) else ["tiles"]
    plans = plans_of(
        opened,
        engines=engines,
        strides=options["stride"],
        threads=options["threads"],
        sizes=options["size"],
    )
    one_alone = base is not None or options["sustain"]
    if target_fps is not None and one_alone:
        raise click.UsageError("--target-fps goes without --compare and --sustain; call it for itself")
    if len(plans) > 1 and one_alone:
        raise click.UsageError(
            f"{len(plans)} plans: --compare and --sustain take one model and one value of each option"
        )
    if options["board"] is not None:
        _estimate(plans, options["board"], target_fps, json_file, html_file)
        return
    with StatusLine() as line, FootageStore(options["source"]) as store:
        if target_fps is not None or len(plans) > 1:
            _side_by_side(plans, store, target_fps, line, json_file, html_file, options)
        else:
            _one(plans[0], store, base, fail_over, line, json_file, html_file, options)


def _one(
    plan: Plan,
    store: FootageStore,
    base: dict[str, Any] | None,
    fail_over: float,
    line: StatusLine,
    json_file: Path | None,
    html_file: Path | None,
    options: dict[str, Any],
) -> None:
    """Measure one plan; compare it, where there is a baseline."""
    from crackedge.benchmarks import comparison
    from crackedge.benchmarks.bench_page import bench_page
    from crackedge.benchmarks.bench_report import format_bench
    from crackedge.benchmarks.latency import bench as bench_model
    from crackedge.benchmarks.scenarios import SCENARIOS
    from crackedge.benchmarks.sustained import format_sustained, sustain
    from crackedge.edge_runtime.scan.scanner import Scanner

    given: dict[str, Any] = {"engine": plan.engine, "stride": plan.stride, "threads": plan.threads}
    scenarios = options["scenarios"] or tuple(base["scenarios"] if base else SCENARIOS)
    if base is not None:  # now, and not after a minute of measuring
        comparison.check_judgeable(base, scenarios=scenarios, restarts=options["restarts"])
        if not options["force"]:
            comparison.check_comparable(base, _to_be_measured(plan, store, given))
    result = bench_model(
        plan.model, store, scenarios=scenarios, size=plan.size, progress=line.show, **given, **_measuring(options)
    )
    if options["sustain"]:
        frames = store.take(plan.size)[0].frames
        with Scanner(plan.model, **given) as scanner:
            result["sustained"] = sustain(
                lambda number: scanner(frames[number % len(frames)]),
                duration_s=options["sustain"],
                progress=line.show,
            )
    if base is not None:
        result["comparison"] = comparison.compare(base, result)
    _write(result, json_file, html_file, bench_page)
    click.echo(format_bench(result))
    if options["sustain"]:
        click.echo(format_sustained(result["sustained"]))
    if base is not None:
        click.echo(comparison.format_comparison(result["comparison"]))
        comparison.check_regression(result["comparison"], fail_over=fail_over)


def _to_be_measured(plan: Plan, store: FootageStore, given: dict[str, Any]) -> dict[str, Any]:
    """What a measurement will say of itself, but its figures."""
    from dataclasses import asdict

    from crackedge.benchmarks.machine import describe_machine
    from crackedge.edge_runtime.scan.scanner import Scanner

    with Scanner(plan.model, **given) as scanner:
        made = asdict(scanner.plan)
    return {
        "machine": describe_machine(),
        "model": plan.model.identity,
        "plan": made,
        "input": store.take(plan.size)[0].describe(),
    }


def _side_by_side(
    plans: Sequence[Plan],
    store: FootageStore,
    target_fps: float | None,
    line: StatusLine,
    json_file: Path | None,
    html_file: Path | None,
    options: dict[str, Any],
) -> None:
    """Measure several plans and put them side by side, or say which of them keep a pace."""
    from crackedge.benchmarks.advice import LEAST_FRAMES, advise, format_advice
    from crackedge.benchmarks.bench_page import sweep_page
    from crackedge.benchmarks.sweep import format_sweep, sweep, warnings_of

    measuring = _measuring(options)
    if target_fps is None:
        found = sweep(plans, store, scenarios=options["scenarios"] or ("frame",), progress=line.show, **measuring)
        text = format_sweep(found)
    else:
        measuring |= {"fps": target_fps, "duration_s": max(options["duration"], LEAST_FRAMES / target_fps)}
        scenarios = tuple(dict.fromkeys([*options["scenarios"], "stream"]))
        found = sweep(plans, store, scenarios=scenarios, progress=line.show, **measuring)
        found["advice"] = advise(found["plans"], target_fps=target_fps)
        text = format_advice(found["advice"], target_fps=target_fps)
        text += "".join(f"\n{one['name']}: not measured, {one['failed']}" for one in found["plans"] if one["failed"])
    _write(found, json_file, html_file, lambda whole: sweep_page(whole, text=text))
    click.echo(text)
    for warning in warnings_of(found):
        click.echo(f"warning: {warning}")


def _estimate(
    plans: Sequence[Plan], board: str, target_fps: float, json_file: Path | None, html_file: Path | None
) -> None:
    """Say which plans may keep a pace on a board that is not at hand."""
    from crackedge.benchmarks.advice import estimate_plans, format_estimates, read_board
    from crackedge.benchmarks.bench_page import text_page
    from crackedge.benchmarks.footage import SIZE
    from crackedge.edge_runtime.errors import OptionError
    from crackedge.edge_runtime.scan.engine import engine_name

    published = read_board(board)
    fitting = []
    for plan in plans:
        try:
            engine_name(plan.model, plan.engine)
        except OptionError:  # a classifier in one pass, among others
            continue
        fitting.append(plan)
    found = estimate_plans(fitting, published, target_fps=target_fps, default_size=SIZE)
    text = format_estimates(found, published, board=board, target_fps=target_fps)
    whole = {"kind": "estimate", "board": board, "target_fps": target_fps, "plans": found}
    _write(whole, json_file, html_file, lambda _: text_page(f"{board}: estimate", text))
    click.echo(text)


def _measuring(options: dict[str, Any]) -> dict[str, Any]:
    """What all plans have in common."""
    from crackedge.benchmarks.data_sets import find_sets

    return {
        "duration_s": options["duration"],
        "restarts": options["restarts"],
        "fps": options["fps"],
        "sets": find_sets(options["data"]) if options["data"] is not None else (),
    }


def _write(
    found: dict[str, Any],
    json_file: Path | None,
    html_file: Path | None,
    to_html: Callable[[dict[str, Any]], str],
) -> None:
    if json_file is not None:
        write_json(json_file, found)
    if html_file is not None:
        write_text(html_file, to_html(found))
