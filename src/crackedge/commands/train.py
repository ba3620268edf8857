"""``crackedge train``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from crackedge.commands.terminal import StatusLine, count, duration, stamp
from crackedge.commands.workstation import require_workstation

if TYPE_CHECKING:
    from crackedge.train.corpus import Corpus
    from crackedge.train.watch import Progress


@click.command()
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of data sets, or a pack of such a folder.")
@click.option(
    "--allow-leak", is_flag=True, help="Train even if pieces of one photograph are both trained on and held out."
)
@click.option(
    "--pack",
    metavar="FILE.zip",
    type=click.Path(path_type=Path),
    help="Do not train; write the photographs as one file, for a machine without access to the folders.",
)
@click.option(
    "--pack-mb",
    type=click.FloatRange(0, 4000, min_open=True),
    default=60.0,
    show_default=True,
    help="Largest pack size in MB; JPEG quality is reduced first, then photographs are dropped.",
)
@click.option(
    "--resume",
    metavar="RUN_FOLDER",
    type=click.Path(path_type=Path),
    help="Continue an interrupted run, with the recipe and data that it began with.",
)
@click.option(
    "--average",
    metavar="RUN_FOLDER",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Do not train; write the mean of several runs' weights to --output. Give this option once for each run. A "
    ".tflite file, or a shipped model's name, may be averaged with runs that started from it.",
)
@click.option("--recipe", default="nano", show_default=True, help="Name of a shipped recipe, or a TOML file.")
@click.option(
    "--weights",
    default="imagenet",
    show_default=True,
    help="Starting weights. For the backbone: a file, imagenet, or none. For the whole network: a .keras or .tflite "
    "file, or a shipped model's name.",
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Run folder [default: runs/train-RECIPE-DATE].")
@click.option("--epochs", type=click.IntRange(0), help="Override the recipe's epochs of the whole network.")
@click.option("--head-epochs", type=click.IntRange(0), help="Override the recipe's epochs of the head alone.")
@click.option("--steps-per-epoch", type=click.IntRange(1), help="Override the recipe's steps per epoch.")
@click.option("--batch", type=click.IntRange(1), help="Override the recipe's canvases per step.")
@click.option("--learning-rate", type=float, help="Override the recipe's learning rate.")
@click.option("--alpha", type=float, help="Override the recipe's width of MobileNetV2, such as 0.35 or 1.0.")
@click.option("--teacher", help="Override the recipe's teacher: model.keras of an earlier, larger run to learn from.")
@click.option("--seed", type=int, help="Override the recipe's random seed.")
def train(
    data_root: Path | None,
    allow_leak: bool,
    pack: Path | None,
    pack_mb: float,
    resume: Path | None,
    average: tuple[Path, ...],
    recipe: str,
    weights: str,
    output: Path | None,
    **overrides: Any,
) -> int:
    """Train a crack model on labelled photographs. Run it on a workstation, after pip install 'crackedge[train]'.

    \b
    crackedge train --data-root photos/ --weights imagenet -o runs/mine
    crackedge train --data-root site/ --weights nano --head-epochs 0 --learning-rate 1e-4 --epochs 4
    crackedge train --resume runs/mine
    crackedge train --data-root photos/ --pack photos.zip
    crackedge train --average nano --average runs/site -o runs/mean

    --resume continues after a crash, a full disk or Ctrl-C. A pack is for a machine without access to the folders;
    give --data-root photos.zip there. The mean of a run and of the model that it started from often generalises better
    to other surfaces.

    Each data set has train/ and val/ with crack/ and no_crack/, or images/ with masks/ or boxes/. If no set has val/,
    the last fifth of each class is held out. Copies of held-out photographs are left out of training.

    Training also runs on a GPU, with TensorFlow, or with KERAS_BACKEND=jax or torch; with jax, several GPUs share a
    batch.

    Exit codes: 0 done, 1 failed, 2 wrong use, 128 + n ended by signal n, after which --resume continues.
    """
    if resume is not None:
        _refuse_beside("resume", "data_root", why="goes on with what the run began with")
    elif average:
        _refuse_beside("average", "output", why="trains nothing")
        if len(average) < 2 or output is None:
            raise click.UsageError("--average, twice or more, takes runs or what they went on from; and -o their mean")
    elif data_root is None:
        raise click.UsageError("no photographs: give --data-root, or --resume a run")
    elif pack is None and _is_given("pack_mb"):
        raise click.UsageError("--pack-mb bounds a pack; give --pack FILE.zip too")
    elif pack is not None:
        _refuse_beside("pack", "data_root", "pack_mb", "recipe", "allow_leak", why="trains nothing")
    require_workstation("train", resumed=resume)
    if average:
        assert output is not None
        from crackedge.train.mean import average as write_mean

        made = shlex.quote(str(write_mean(average, output)))
        click.echo(
            f"{output}: the mean of {len(average)} networks. "
            f"Next: crackedge export {made} --data-root DATA -o mean.tflite"
        )
        return 0
    if pack is not None:
        assert data_root is not None
        _pack(data_root, pack, recipe=recipe, most_mb=pack_mb, allow_leak=allow_leak)
        return 0
    from crackedge.edge_runtime.stop import stop_on_signals
    from crackedge.train import fit
    from crackedge.train.errors import TrainingStopped
    from crackedge.train.recipe import load_recipe

    with StatusLine() as line, stop_on_signals() as stop:

        def report(progress: Progress) -> None:
            if progress.epoch_line is not None:
                line.say(_epoch_summary(progress.epoch_line))
            line.show(
                f"step {progress.step}/{progress.steps}  loss {progress.loss:.4f}  "
                f"{progress.canvases_s:.1f} canvases/s  {duration(progress.remaining_s)} left"
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
                folder = output or Path("runs") / f"train-{chosen.name}-{stamp()}"
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
        f"{trained.folder}: trained, {count(trained.epochs, 'epoch')}. Next: crackedge export "
        f"{shlex.quote(str(trained.folder))} --data-root {shlex.quote(str(trained.data_root))} -o {trained.name}.tflite"
    )
    return 0


def _pack(data_root: Path, file: Path, *, recipe: str, most_mb: float, allow_leak: bool) -> None:
    """Write a recipe's photographs as one file, and say what is in it and what is not."""
    from crackedge.edge_runtime.output_file import require_free
    from crackedge.train.corpus import gather
    from crackedge.train.pack import opened, write_pack
    from crackedge.train.recipe import load_recipe

    require_free(file, option="--pack", overwrite=None)  # the search for copies takes minutes
    with StatusLine() as line, opened(data_root) as root:
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
        unread, first = count(len(packed.skipped), "photograph"), next(iter(packed.skipped.values()))
        click.echo(f"{unread} could not be read; the first: {first}", err=True)
    click.echo(
        f"{packed.path}: {packed.size / 1e6:.2f} MB, JPEG quality {packed.quality}. "
        f"Next: crackedge train --recipe {recipe} --data-root {shlex.quote(str(packed.path))}"
    )


def _epoch_summary(line: dict[str, Any]) -> str:
    figures = [
        f"{name} AUC {one['auc']:.3f}" if one["auc"] is not None else f"{name} mean score {one['mean_score']:.2f}"
        for name, one in line["val"].items()
    ]
    validation = "" if line["val_loss"] is None else f"validation {line['val_loss']:.4f}  "
    return f"epoch {line['epoch']}  loss {line['loss']:.4f}  {validation}{line['wall_s']:.0f} s  " + "  ".join(figures)


def _is_given(option: str) -> bool:
    return click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE


def _refuse_beside(option: str, *fitting: str, why: str) -> None:
    """Refuse what somebody typed beside an option with which it would have no effect."""
    names = click.get_current_context().params
    given = [name.replace("_", "-") for name in names if name not in (option, *fitting) and _is_given(name)]
    if given:
        raise click.UsageError(f"--{option} {why}; leave out --{', --'.join(given)}")
