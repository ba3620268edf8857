"""The command line: options in, one line of error and an exit code out.

Everything heavy is imported by the command that needs it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from crackedge.edge_runtime.model import Model
    from crackedge.train.corpus import Corpus

EXIT_FAILED, EXIT_USAGE, EXIT_LIVE, EXIT_OUTPUT_LOST, EXIT_PROOF, EXIT_CRACKS = 1, 2, 3, 4, 5, 10

_EXAMPLES = {"max_content_width": 110, "help_option_names": ["-h", "--help"]}


def main() -> NoReturn:
    """Run the command line and end the process with the documented exit code."""
    try:
        code = cli(prog_name="crackedge", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = 130
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        click.echo(f"crackedge: {error}", err=True)
    sys.exit(code if isinstance(code, int) else 0)


def _exit_code(error: Exception) -> int | None:
    """The documented exit code of an error of ours; None for any other."""
    from crackedge.edge_runtime import errors

    if not isinstance(error, errors.CrackedgeError):
        return None
    codes = {
        errors.OptionError: EXIT_USAGE,
        errors.LiveSourceError: EXIT_LIVE,
        errors.ProofError: EXIT_PROOF,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), EXIT_FAILED)


@click.group(context_settings=_EXAMPLES)
@click.version_option(package_name="crackedge")
def cli() -> None:
    """Find cracks in concrete, asphalt and masonry: in videos, photographs and live cameras.

    \b
    crackedge run inspection.mp4 -o out/      mark the cracks of a video
    crackedge run --camera 0                  ... of a camera
    crackedge evaluate DATA                   how right is the model?
    crackedge bench                           how fast is it here?
    """


def _model_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--model", "-m", default="nano", show_default=True, help="Name of a shipped model, or a .tflite file."
    )(command)


def _engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--threads", type=click.IntRange(1), help="Threads of the interpreter [default: processors, up to 4]."
        ),
        click.option(
            "--engine",
            type=click.Choice(["auto", "tiles", "dense"]),
            default="auto",
            show_default=True,
            help="dense: whole frames in one pass; tiles: one window after another; auto: by the model's card.",
        ),
    ):
        command = option(command)
    return command


def _cardless_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--crack-index", type=click.IntRange(0, 1), help="Classifier without a card: which class is it."),
        click.option("--input-range", help="Classifier without a card, float input: 0..1, -1..1 or 0..255."),
    ):
        command = option(command)
    return command


def _json_option(help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--json",
        "json_file",
        type=click.Path(dir_okay=False, path_type=Path),
        callback=lambda _, __, file: _writable(file),
        help=help_text,
    )


def _writable(file: Path | None) -> Path | None:
    """Refuse now what would fail after minutes of measuring."""
    if file is not None and not os.access(file if file.exists() else file.absolute().parent, os.W_OK):
        raise _unwritable(file, "its folder is missing or write-protected")
    return file


def _open_model(options: dict[str, Any]) -> Model:
    from crackedge.edge_runtime.model import open_model

    return open_model(options["model"], input_range=options["input_range"], crack_index=options["crack_index"])


@cli.command()
@click.argument("sources", nargs=-1)
@click.option(
    "--camera", type=click.IntRange(0), multiple=True, help="Number of a camera; same as the number as SOURCE."
)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Folder for the results [default: runs/SOURCE-DATE]."
)
@_model_option
@_engine_options
@click.option("--stride", type=int, help="Pixels between windows, a multiple of 32 [default: dense 32, tiles 128].")
@click.option("--threshold", type=float, help="Probability from which a window is cracked, in place of the card's.")
@click.option("--operating-point", help="Named thresholds of the card: balanced, high-recall, high-precision.")
@click.option("--max-frames", type=click.IntRange(1), help="Stop after so many frames of each source.")
@click.option("--scores", is_flag=True, help="Write the scores of all windows to results.jsonl too.")
@click.option("--no-video", is_flag=True, help="Write no marked video or images.")
@click.option("--no-window", is_flag=True, help="Show no window, even where there could be one.")
@click.option("--preset", default="ultrafast", show_default=True, help="x264 preset of the marked video.")
@click.option("--fail-on-crack", is_flag=True, help="Exit with 10 when cracks were found.")
@_cardless_options
def run(sources: tuple[str, ...], camera: tuple[int, ...], output: Path | None, **options: Any) -> int:
    """Mark the cracks of videos, photographs, cameras, streams.

    SOURCE is a video, an image, a folder or glob of them, a camera's number, an rtsp://, http:// or udp:// address, or
    scene: for a synthetic flight. Results: results.jsonl and marked.mp4 (or marked/ for photographs).

    \b
    crackedge run inspection.mp4 -o out/
    crackedge run photos/ --operating-point high-recall
    crackedge run --camera 0

    Exit codes: 0 done, 1 failed, 2 wrong use, 3 live source absent or lost, 4 an output was lost, 10 cracks found
    (--fail-on-crack), 128 + n ended by signal n.
    """
    texts = [*sources, *(str(number) for number in camera)]
    if not texts:
        raise click.UsageError("no source: give a video, a folder, a camera's number, or an address")
    from crackedge.edge_runtime.runner import Start, run_sources
    from crackedge.edge_runtime.scanner import Scanner
    from crackedge.edge_runtime.stop import stop_on_signals

    def open_scanner() -> Scanner:
        return Scanner(
            _open_model(options),
            engine=options["engine"],
            stride=options["stride"],
            threshold=options["threshold"],
            operating_point=options["operating_point"],
            threads=options["threads"],
        )

    def on_start(start: Start) -> None:
        plan = start.scanner.plan
        line.say(
            f"{start.source.uri}: model {start.scanner.model.name}, engine {plan.engine}, stride {plan.stride}, "
            f"threshold {plan.window_threshold:.2f}, {plan.runtime}, {_count(plan.threads, 'thread')}"
        )

    with _Line() as line, stop_on_signals() as stop:
        outcome = run_sources(
            texts,
            open_scanner,
            output=output,
            scores=options["scores"],
            video=not options["no_video"],
            preset=options["preset"],
            window=not options["no_window"],
            max_frames=options["max_frames"],
            stop=stop,
            on_start=on_start,
            on_progress=lambda progress: line.show(str(progress)),
            on_warning=lambda text: line.say(f"warning: {text}"),
        )
    for summary in outcome.summaries:
        where = outcome.folder / (summary.part or "")
        click.echo(
            f"{where}: {_count(summary.frames, 'frame')}, {summary.cracked_frames} with cracks, "
            f"{summary.fps:.1f} frames/s{'' if summary.reason == 'end' else f', {summary.reason}'}"
        )
    return outcome.exit_code(fail_on_crack=options["fail_on_crack"])


@cli.command()
@click.argument("data", type=click.Path(path_type=Path))
@_model_option
@_engine_options
@_cardless_options
@click.option("--split", default="val", show_default=True, help="Which split of each set: train, val, test.")
@click.option("--operating-point", help="Named thresholds of the model's card [default: the card's default].")
@_json_option("Write figures and scores here.")
def evaluate(data: Path, split: str, json_file: Path | None, **options: Any) -> None:
    """Figures of a model on labelled photographs, each set for itself.

    DATA is one set (crack/ and no_crack/; images/ and masks/; images/ and boxes/) or a folder of sets.

    \b
    crackedge evaluate photos/ --json figures.json
    """
    from crackedge.benchmarks.data_sets import find_sets
    from crackedge.benchmarks.evaluation import evaluate as evaluate_model
    from crackedge.benchmarks.evaluation import format_evaluation

    with _Line() as line:
        result = evaluate_model(
            _open_model(options),
            find_sets(data, split=split),
            engine=options["engine"],
            operating_point=options["operating_point"],
            threads=options["threads"],
            progress=lambda name, done, total: line.show(f"{name}: {done}/{total}"),
        )
    click.echo(format_evaluation(result))
    if json_file is not None:
        _write_json(json_file, result)


@cli.command()
@click.argument("model")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="The .tflite file to write.")
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
@click.option("--threads", type=click.IntRange(1), help="Threads of the interpreter [default: processors, up to 4].")
@_cardless_options
def calibrate(model: str, data: Path, output: Path, overwrite: bool, **options: Any) -> None:
    """Fit a model's probabilities and thresholds to your own site, from a few labelled photographs.

    The network stays as it is. Ten tiles with cracks and ten without help already; from 40 of each on, half of them
    is kept back for the figures. DATA is one set (crack/ and no_crack/; images/ and masks/; images/ and boxes/) or a
    folder of sets.

    \b
    crackedge calibrate nano site/ -o nano-site.tflite
    """
    from crackedge.benchmarks.card_calibration import calibrate as calibrate_model
    from crackedge.benchmarks.card_calibration import format_calibrated
    from crackedge.benchmarks.data_sets import find_sets

    with _Line() as line:
        made = calibrate_model(
            _open_model({"model": model, **options}),
            find_sets(data),
            output,
            overwrite=overwrite,
            threads=options["threads"],
            progress=lambda name, done, total: line.show(f"{name}: {done}/{total}"),
        )
    click.echo(format_calibrated(made))
    click.echo(f"{made.path}: calibrated. Next: crackedge run VIDEO --model {made.path}")


@cli.command()
@click.argument("model", default="nano")
@_engine_options
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
@_json_option("Write raw samples here.")
@_cardless_options
def bench(model: str, duration: float, size: str, fps: float, json_file: Path | None, **options: Any) -> None:
    """Latency of a model on this machine: a tile, a frame, a camera's stream.

    \b
    crackedge bench
    crackedge bench mine.tflite --threads 4 --json bench.json
    """
    from crackedge.benchmarks.latency import SCENARIOS, format_bench, parse_size
    from crackedge.benchmarks.latency import bench as bench_model

    with _Line() as line:
        result = bench_model(
            _open_model({"model": model, **options}),
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
        _write_json(json_file, result)


@cli.command()
@click.argument("model", default="nano")
@click.option("--no-time", is_flag=True, help="Do not measure which operations take the time; that takes seconds.")
@click.option("--threads", type=click.IntRange(1), help="Threads of the interpreter [default: processors, up to 4].")
@_json_option("Write everything, and the samples, here.")
def info(model: str, no_time: bool, threads: int | None, json_file: Path | None) -> None:
    """What is inside a model file: card, graph, where the time goes here, what is not accelerated.

    MODEL is the name of a shipped model, or any .tflite file of one image and one result, with or without a card.

    \b
    crackedge info
    crackedge info mine.tflite --no-time --json info.json
    """
    from crackedge.benchmarks.inspection import format_inspection, inspect_model

    with _Line() as line:
        result = inspect_model(model, time=not no_time, threads=threads, progress=line.show)
    click.echo(format_inspection(result))
    if json_file is not None:
        _write_json(json_file, result)


@cli.command()
@click.argument("model", default="nano")
@click.option(
    "--data", type=click.Path(path_type=Path), help="Measure accuracy and AUC on these sets too, beside the card's."
)
@click.option("--threads", type=click.IntRange(1), help="Threads to prove besides 1 [default: processors, up to 4].")
@_json_option("Write what was found here.")
def verify(model: str, data: Path | None, threads: int | None, json_file: Path | None) -> None:
    """Prove on this device that a model computes what it was exported to compute.

    The file against its sha256; its golden vectors on one thread and on all; a whole frame, a cut of it, and its tiles.

    \b
    crackedge verify
    crackedge verify mine.tflite --data photos/ --json proof.json

    Exit code 5 when a proof fails.
    """
    from crackedge.benchmarks.data_sets import find_sets
    from crackedge.benchmarks.verification import format_verification
    from crackedge.benchmarks.verification import verify as verify_model
    from crackedge.edge_runtime.errors import ProofError

    with _Line() as line:
        result = verify_model(
            model,
            sets=find_sets(data) if data is not None else (),
            threads=threads,
            progress=lambda name, done, total: line.show(f"{name}: {done}/{total}"),
        )
    click.echo(format_verification(result))
    if json_file is not None:
        _write_json(json_file, result)
    failed = next((check for check in result["checks"] if not check["passed"]), None)
    if failed is not None:
        raise ProofError(f"{result['model']['file']}: not proven here: {failed['name']}: {failed['found']}")


@cli.command()
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of data sets, or a pack of one.")
@click.option(
    "--allow-leak", is_flag=True, help="Train although pieces of one photograph are both trained on and held out."
)
@click.option(
    "--pack",
    metavar="FILE.zip",
    type=click.Path(path_type=Path),
    help="Train nothing: write the photographs as one file, for a machine that cannot see the folders.",
)
@click.option(
    "--pack-mb",
    type=click.FloatRange(0, 4000, min_open=True),
    default=60.0,
    show_default=True,
    help="Most megabytes of the pack: quality gives way first, then count.",
)
@click.option(
    "--resume",
    metavar="RUN_FOLDER",
    type=click.Path(path_type=Path),
    help="Go on with a run that was cut off; recipe and data are those it began with.",
)
@click.option("--recipe", default="nano", show_default=True, help="Name of a shipped recipe, or a TOML file.")
@click.option("--weights", default="imagenet", show_default=True, help="Of the backbone: a file, imagenet, or none.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Run folder [default: runs/train-RECIPE-DATE].")
@click.option("--epochs", type=click.IntRange(0), help="Epochs of the whole network, in place of the recipe's.")
@click.option("--head-epochs", type=click.IntRange(0), help="Epochs of the head alone, in place of the recipe's.")
@click.option("--steps-per-epoch", type=click.IntRange(1), help="In place of the recipe's.")
@click.option("--batch", type=click.IntRange(1), help="Canvases in a step, in place of the recipe's.")
@click.option("--learning-rate", type=float, help="In place of the recipe's.")
@click.option("--alpha", type=float, help="Width of MobileNetV2, in place of the recipe's: 0.35 or 1.0, say.")
@click.option("--teacher", help="The model.keras of an earlier, larger run to learn from, in place of the recipe's.")
@click.option("--seed", type=int, help="In place of the recipe's.")
def train(
    data_root: Path | None,
    allow_leak: bool,
    pack: Path | None,
    pack_mb: float,
    resume: Path | None,
    recipe: str,
    weights: str,
    output: Path | None,
    **overrides: Any,
) -> int:
    """Train a crack model on labelled photographs. For the workstation: pip install 'crackedge[train]'.

    \b
    crackedge train --data-root photos/ --weights imagenet -o runs/mine
    crackedge train --resume runs/mine
    crackedge train --data-root photos/ --pack photos.zip

    --resume goes on after a crash, a full disk, Ctrl-C. A pack is for a machine that cannot see the folders: there,
    --data-root photos.zip.

    Each data set has train/ and val/ with crack/ and no_crack/, or images/ with masks/ or boxes/. Without val/, the
    last fifth is held out. Copies of held-out photographs are left out of training.
    """
    if resume is not None:
        _refuse_beside("resume", "data_root", why="goes on with what the run began with")
    elif data_root is None:
        raise click.UsageError("no photographs: give --data-root, or --resume a run")
    elif pack is None and _is_given("pack_mb"):
        raise click.UsageError("--pack-mb bounds a pack; give --pack FILE.zip too")
    elif pack is not None:
        _refuse_beside("pack", "data_root", "pack_mb", "recipe", "allow_leak", why="trains nothing")
    _require_workstation("train")
    if pack is not None:
        assert data_root is not None
        _pack(data_root, pack, recipe=recipe, most_mb=pack_mb, allow_leak=allow_leak)
        return 0
    from crackedge.edge_runtime.stop import stop_on_signals
    from crackedge.train import fit
    from crackedge.train.recipe import load_recipe
    from crackedge.train.watch import Progress, TrainingStopped

    with _Line() as line, stop_on_signals() as stop:

        def report(progress: Progress) -> None:
            if progress.epoch_line is not None:
                line.say(_epoch_summary(progress.epoch_line))
            line.show(
                f"step {progress.step}/{progress.steps}  loss {progress.loss:.4f}  "
                f"{progress.canvases_s:.1f} canvases/s  {_duration(progress.remaining_s)} left"
            )

        def gathered(corpus: Corpus) -> None:
            for note in corpus.notes:
                line.say(note)

        def comparing(done: int, total: int) -> None:
            line.show(f"looking for copies: {done}/{total} photographs")

        told: Any = {"report": report, "gathered": gathered, "comparing": comparing, "stop": stop}
        try:
            if resume is not None:
                trained = fit.resume(resume, data_root=data_root, **told)
            else:
                assert data_root is not None
                chosen = load_recipe(recipe, **overrides)
                folder = output or Path("runs") / f"train-{chosen.name}-{_stamp()}"
                backbone = None if weights == "none" else weights
                trained = fit.fit(data_root, folder, chosen, weights=backbone, allow_leak=allow_leak, **told)
        except TrainingStopped as stopped:
            line.say(f"crackedge: {stopped}")
            return 128 + (stop.signal or 0)
    if trained.skipped:
        click.echo(
            f"{len(trained.skipped)} photographs could not be read; {trained.folder}/config.json names them", err=True
        )
    click.echo(
        f"{trained.folder}: trained, {_count(trained.epochs, 'epoch')}. Next: crackedge export {trained.folder} "
        f"--data-root {trained.data_root} -o {trained.name}.tflite"
    )
    return 0


def _pack(data_root: Path, file: Path, *, recipe: str, most_mb: float, allow_leak: bool) -> None:
    """Write a recipe's photographs as one file, and say what is in it and what is not."""
    from crackedge.train.corpus import gather
    from crackedge.train.pack import opened, write_pack
    from crackedge.train.recipe import load_recipe

    with _Line() as line, opened(data_root) as root:
        corpus = gather(
            root,
            load_recipe(recipe),
            allow_leak=allow_leak,
            progress=lambda done, total: line.show(f"looking for copies: {done}/{total} photographs"),
        )
        for note in corpus.notes:
            line.say(note)
        packed = write_pack(
            corpus,
            file,
            most_bytes=int(most_mb * 1e6),
            progress=lambda done, total: line.show(f"packing: {done}/{total} photographs"),
        )
    for name, (kept, found) in packed.kept.items():
        click.echo(f"{name}: {kept} of {found} photographs")
    if packed.skipped:
        unread, first = _count(len(packed.skipped), "photograph"), next(iter(packed.skipped.values()))
        click.echo(f"{unread} could not be read; the first: {first}", err=True)
    click.echo(
        f"{packed.path}: {packed.size / 1e6:.2f} MB, JPEG quality {packed.quality}. "
        f"Next: crackedge train --recipe {recipe} --data-root {packed.path}"
    )


def _is_given(option: str) -> bool:
    return click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE


def _refuse_beside(option: str, *fitting: str, why: str) -> None:
    """Refuse what somebody typed beside an option with which it would have no effect."""
    names = click.get_current_context().params
    given = [name.replace("_", "-") for name in names if name not in (option, *fitting) and _is_given(name)]
    if given:
        raise click.UsageError(f"--{option} {why}; leave out --{', --'.join(given)}")


@cli.command()
@click.argument("source", metavar="RUN_OR_FILE", type=click.Path(path_type=Path))
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="The .tflite file to write.")
@click.option(
    "--data-root", required=True, type=click.Path(path_type=Path), help="Data sets whose val/ gives proof and figures."
)
@click.option(
    "--variants",
    default="int8",
    show_default=True,
    help="Some of int8, float32, float16, dynamic, int16x8, with commas between, or all. Several are written as "
    "NAME-VARIANT.tflite, with a table of what each costs here and is worth.",
)
@click.option("--pick", is_flag=True, help="Of several variants, keep only the fastest that was proven, as the output.")
@click.option("--calibrate-from", metavar="VIDEO", help="Footage that int8 is fitted to, in place of the photographs.")
@click.option(
    "--head",
    type=click.Choice(["logit-map", "probability"]),
    help="probability: the conventional N x 224 x 224 x 3 to N x 1, for other runtimes [default: the source's].",
)
@click.option("--name", help="Name of the model [default: the recipe's].")
@click.option("--input-range", help="Of a foreign file that does not say it: 0..1, -1..1, 0..255 or caffe.")
@click.option(
    "--crack-index", type=click.IntRange(0, 1), default=1, help="Of a foreign file: which class is the crack."
)
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
def export(source: Path, output: Path, data_root: Path, variants: str, **options: Any) -> int:
    """Make a network into proven .tflite files with their cards inside.

    RUN_OR_FILE is the folder of a training run, or a .keras or .h5 file of any crack classifier. Nothing is written
    that does not decide as the network does: exit code 5.

    \b
    crackedge export runs/mine --data-root photos/ -o mine.tflite
    crackedge export runs/mine --data-root photos/ -o mine.tflite --variants all --pick
    crackedge export theirs.h5 --data-root photos/ -o theirs.tflite --input-range 0..1
    """
    _require_workstation("export")
    from crackedge.export.convert import VARIANTS
    from crackedge.export.pipeline import export_network
    from crackedge.export.variants import format_table
    from crackedge.train.pack import opened

    wanted = VARIANTS if variants == "all" else tuple(name.strip() for name in variants.split(","))
    with _Line() as line, opened(data_root) as root:
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
            f"Next: crackedge run VIDEO --model {file.path}"
        )
    return EXIT_PROOF if made.failed and not options["pick"] else 0


class _Line:
    """One line on stderr that is written over and over; on a pipe, a line now and then."""

    _EVERY_S = 10.0

    def __init__(self) -> None:
        self._tty = sys.stderr.isatty()
        self._shown = ""
        self._next_s = 0.0

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *error: object) -> None:
        self._clear()

    def show(self, text: str) -> None:
        """Replace the line."""
        import time

        now = time.monotonic()
        if self._tty:
            if now >= self._next_s:
                self._clear()
                self._next_s = now + 0.1
                self._shown = text[: _columns() - 1]
                click.echo(self._shown, err=True, nl=False)
        elif now >= self._next_s:
            self._next_s = now + self._EVERY_S
            click.echo(text, err=True)

    def say(self, text: str) -> None:
        """Leave a line standing."""
        self._clear()
        click.echo(text, err=True)

    def _clear(self) -> None:
        if self._shown:
            click.echo("\r" + " " * len(self._shown) + "\r", err=True, nl=False)
            self._shown = ""


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def _duration(seconds: float) -> str:
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _epoch_summary(line: dict[str, Any]) -> str:
    figures = [
        f"{name} AUC {one['auc']:.3f}" if one["auc"] is not None else f"{name} mean score {one['mean_score']:.2f}"
        for name, one in line["val"].items()
    ]
    validation = "" if line["val_loss"] is None else f"validation {line['val_loss']:.4f}  "
    return f"epoch {line['epoch']}  loss {line['loss']:.4f}  {validation}{line['wall_s']:.0f} s  " + "  ".join(figures)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _stamp() -> str:
    from datetime import datetime

    return datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")


def _write_json(path: Path, value: Any) -> None:
    try:
        path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error


def _unwritable(path: Path, reason: str) -> Exception:
    from crackedge.edge_runtime.errors import OutputError

    return OutputError(f"{path}: cannot be written ({reason}); give another --json")


def _require_workstation(command: str) -> None:
    """Turn a missing TensorFlow into the line to type."""
    from importlib.util import find_spec

    from crackedge.edge_runtime.errors import MissingExtraError
    from crackedge.edge_runtime.native_log import captured

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    backend = os.environ.get("KERAS_BACKEND", "tensorflow") if command == "train" else "tensorflow"
    needed = ("keras", backend)
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"`crackedge {command}` needs {', '.join(missing)}: pip install 'crackedge[train]'")
    with captured():  # start-up notes about processors and missing GPUs
        import keras

        keras.ops.zeros(1)
