"""Training: photographs and a recipe to a run folder, and on from where a run was cut off."""

from __future__ import annotations

import gc
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np

from crackedge.benchmarks.data_sets import LabelledSet
from crackedge.edge_runtime.errors import DataError, OptionError, OutputError
from crackedge.edge_runtime.models.model import find_model, shipped_models
from crackedge.train import checkpoint, run_folder
from crackedge.train.batches import CanvasBatches
from crackedge.train.checkpoint import Checkpoint
from crackedge.train.corpus import Corpus, gather
from crackedge.train.errors import TrainingError, TrainingStopped
from crackedge.train.lineage import file_sha256, lineage
from crackedge.train.network import LOGITS, MapLoss, build_network, training_model
from crackedge.train.pack import opened
from crackedge.train.phases import Phase, enter, epochs_before, is_over, new_optimizer, phases
from crackedge.train.recipe import Recipe
from crackedge.train.report import write_report
from crackedge.train.validation import SetScores, figures, validate
from crackedge.train.watch import Progress, Watch

Report = Callable[[Progress], None]
Gathered = Callable[[Corpus], None]
Comparing = Callable[[int, int], None]
Stop = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run came to.

    Attributes:
        folder: the run folder.
        name: of the recipe.
        data_root: where the data were.
        scores: of every window of each validation set.
        epochs: how many it had; fewer than the recipe's where ``patience`` ended it.
        skipped: photographs that could not be read, and why.
    """

    folder: Path
    name: str
    data_root: Path
    scores: tuple[SetScores, ...]
    epochs: int
    skipped: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Run:
    """What does not change from the beginning of a run to its end, whatever interrupts it."""

    folder: Path
    recipe: Recipe
    data_root: Path
    corpus: Corpus
    weights: str | None  # that it begins with

    @property
    def held_out(self) -> list[LabelledSet]:
        return list(self.corpus.held_out)


def fit(
    data_root: Path,
    folder: Path,
    recipe: Recipe,
    *,
    weights: str | Path | None = None,
    allow_leak: bool = False,
    report: Report = lambda _: None,
    gathered: Gathered = lambda _: None,
    comparing: Comparing = lambda _done, _total: None,
    stop: Stop = lambda: False,
) -> Trained:
    """Train a network and leave it, with its figures, in a run folder.

    Args:
        data_root: a folder of data sets, or a pack of one.
        folder: the run folder, new or empty.
        recipe: what to train.
        weights: of the backbone: a file, ``"imagenet"`` or None; or of a whole network: the ``model.keras`` of an
            earlier run, a ``.tflite`` file, or the name of a shipped model.
        allow_leak: accept sets whose splits share source photographs.
        report: called after every step and epoch.
        gathered: called with the photographs, before training.
        comparing: called with the number of photographs compared, in search of copies, and of all.
        stop: asked after every step whether to stop.

    Raises:
        DataError: the data are not fit for training, or vanish under it; or the ``config.json`` beside the weights or
            the teacher cannot be read.
        OptionError: the weights are not the backbone's, or the batch cannot be shared by the devices or is more than
            their memory holds.
        OutputError: the run folder cannot be used, or the disk is full.
        TrainingError: the loss is not a number; the last epoch's network is kept.
        TrainingStopped: ``stop`` said so.
    """
    run_folder.require_free(folder)
    with opened(data_root) as root:
        corpus = _photographs(root, recipe, allow_leak=allow_leak, comparing=comparing)
        shipped = find_model(weights) if weights in shipped_models() else weights
        run = _Run(folder, recipe, data_root, corpus, None if shipped is None else str(shipped))
        network = _seeded_network(run, weights=run.weights)
        model = training_model(network, weights=run.weights, teacher=recipe.teacher)
        config = _config(run)
        run_folder.create(folder)
        run_folder.write_config(folder, config)
        gathered(corpus)
        return _train(run, network, model, None, report, stop)


def resume(
    folder: Path,
    *,
    data_root: Path | None = None,
    report: Report = lambda _: None,
    gathered: Gathered = lambda _: None,
    comparing: Comparing = lambda _done, _total: None,
    stop: Stop = lambda: False,
) -> Trained:
    """Go on with a run that was cut off, from its last complete epoch, with the recipe and data that it began with.

    It ends as it would have ended undisturbed, up to rounding, where TensorFlow uses the same kernels: its
    ``TF_ENABLE_ONEDNN_OPTS``, which stands in ``config.json`` as ``onednn``, must be set before TensorFlow is imported,
    as ``crackedge train`` does.

    Args:
        folder: the run folder.
        data_root: where the data are now; None looks where they were.
        report: called after every step and epoch.
        gathered: called with the photographs, before training.
        comparing: called with the number of photographs compared, in search of copies, and of all.
        stop: asked after every step whether to stop.

    Raises:
        DataError: not a run folder, the data are not those that the run began with, or a checkpoint is damaged, or
            there is none yet and the weights are not those either.
        OptionError: the run has come to its end.
        OutputError: as :func:`fit`, and so for TrainingError and TrainingStopped.
    """
    config = run_folder.read_config(folder)
    if (folder / run_folder.METRICS).exists():
        raise OptionError(f"{folder}: this run has come to its end; to train on: --weights {folder / run_folder.MODEL}")
    if "data_root" not in config:
        raise DataError(f"{folder}: {run_folder.CONFIG} does not say where the data are; start anew")
    recipe = run_folder.recipe_of(config)
    data_root = data_root or Path(config["data_root"])
    allow_leak = bool(config.get("leaks", {}).get("allowed", False))
    with opened(data_root) as root:
        corpus = _photographs(root, recipe, allow_leak=allow_leak, comparing=comparing)
        run = _Run(folder, recipe, data_root, corpus, config["weights_from"])
        if changes := _changes(config, run):
            raise DataError(
                f"{folder}: the data are not those that the run began with ({changes}); put them back, or start anew "
                f"with --weights {folder / run_folder.MODEL}"
            )
        last = checkpoint.load(folder)
        weights = None if last else run.weights  # a checkpoint has them all, and their file may be gone
        if weights is not None:
            _require_same_weights(Path(weights), config)
        network = _seeded_network(run, weights=weights)
        model = training_model(network, weights=weights, teacher=recipe.teacher)
        gathered(corpus)
        return _train(run, network, model, last, report, stop)


def _photographs(data_root: Path, recipe: Recipe, *, allow_leak: bool, comparing: Comparing) -> Corpus:
    corpus = gather(data_root, recipe, allow_leak=allow_leak, progress=comparing)
    if recipe.patience and not any(one.base_name in corpus.trained_on for one in corpus.held_out):
        raise DataError(
            f"{data_root}: no set that is trained on has a val split, and patience = {recipe.patience} needs a "
            "validation loss; add one, or set patience = 0"
        )
    return corpus


def _require_same_weights(file: Path, config: Mapping[str, Any]) -> None:
    """Refuse a file that is not the one a run began with; one that is gone is named where it is read."""
    if "weights_sha256" in config and file.is_file() and file_sha256(file) != config["weights_sha256"]:
        raise DataError(f"{file}: not the weights that the run began with; put them back, or start anew")


def _seeded_network(run: _Run, *, weights: str | None) -> keras.Model:
    """The network at its first step, and with it all that Keras keeps for the whole process."""
    keras.utils.set_random_seed(run.recipe.seed)
    cv2.setNumThreads(1)  # the batches' own threads and the network share the cores already
    # Keras' own data parallelism; tried on two simulated devices, not measured on GPUs.
    if keras.backend.backend() == "jax" and (devices := len(keras.distribution.list_devices())) > 1:
        if run.recipe.batch % devices:
            raise OptionError(f"batch = {run.recipe.batch}: expected a multiple of the {devices} devices that share it")
        keras.distribution.set_distribution(keras.distribution.DataParallel())
    if not run.recipe.mixed_precision:
        return build_network(run.recipe, weights=weights)
    policy = keras.config.dtype_policy()
    # bfloat16 has the range of float32, so the loss needs no scaling; fast on GPUs since Ampere.
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        return build_network(run.recipe, weights=weights)
    finally:
        keras.config.set_dtype_policy(policy)


def _train(
    run: _Run, network: keras.Model, model: keras.Model, last: Checkpoint | None, report: Report, stop: Stop
) -> Trained:
    """From a checkpoint, or the beginning, to the end."""
    if last:
        checkpoint.restore(model.variables, last.model, origin=run.folder)
    watch = Watch(
        run.folder,
        run.recipe,
        trained=network,
        # What is validated and exported computes in single precision.
        handed_over=build_network(run.recipe, weights=None) if run.recipe.mixed_precision else network,
        held_out=run.held_out,
        trained_on=run.corpus.trained_on,
        history=last.history if last else [],
        kept=last.kept if last else [],
        report=report,
        stop=stop,
    )
    try:
        for phase in phases(run.recipe):
            if not is_over(phase, watch.history, run.recipe):
                _train_phase(run, phase, network, model, last, watch)
        return _finish(run, watch)
    except TrainingError as error:
        raise TrainingError(f"{error}; {_start_anew(run.folder, watch.epochs_kept)}") from error
    except (TrainingStopped, OutputError, DataError) as error:
        kept = f"{watch.epochs_kept} of {sum(phase.epochs for phase in phases(run.recipe))} epochs are kept"
        resumed = f"crackedge train --resume {shlex.quote(str(run.folder))}"
        raise type(error)(f"{error}; {kept}, go on with: {resumed}") from error


def _train_phase(
    run: _Run, phase: Phase, network: keras.Model, model: keras.Model, last: Checkpoint | None, watch: Watch
) -> None:
    """A phase, or what is left of it."""
    recipe, done = run.recipe, len(watch.history)
    before = epochs_before(phase, watch.history)
    enter(phase, network, recipe, pretrained=run.weights is not None)
    model.compile(new_optimizer(phase, recipe), MapLoss(recipe.cell_share, recipe.teacher_share), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    if last and done > before and done == len(last.history):
        checkpoint.restore(model.optimizer.variables, last.optimizer, origin=run.folder)
    if keras.distribution.distribution() is not None:
        # What Keras compiled for several devices holds for one choice of the layers that learn.
        watch.handed_over.make_predict_function(force=True)
    batches = CanvasBatches(run.corpus, recipe, epoch=done)
    watch.phase, watch.batches = phase, batches
    _build_loss(model, batches)
    try:
        model.fit(
            batches,
            initial_epoch=done,
            epochs=before + phase.epochs,
            steps_per_epoch=recipe.steps_per_epoch,
            shuffle=False,
            verbose=0,
            callbacks=[watch],
        )
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        watch.failure = OptionError(
            f"batch = {recipe.batch}: more than the memory of this device holds; give a smaller --batch and another -o"
        )
    finally:
        batches.close()
    if watch.failure:
        gc.collect()  # the iterator over the batches, see Watch
        raise watch.failure


def _is_out_of_memory(error: Exception) -> bool:
    """Whether it is how TensorFlow, JAX or torch say that a device has no memory left; each has a type of its own."""
    said = f"{type(error).__name__}: {error}"
    return any(sign in said for sign in ("ResourceExhausted", "RESOURCE_EXHAUSTED", "OutOfMemory"))


def _build_loss(model: keras.Model, batches: CanvasBatches) -> None:
    """Spare Keras the batch that it would take to see the loss' shapes and then throw away: resuming would shift."""
    pixels, targets = batches[0]
    logits = np.zeros((*targets.shape[:3], model.output_shape[-1]), np.float32)
    model.compute_loss(x=pixels, y=keras.ops.convert_to_tensor(targets), y_pred=keras.ops.convert_to_tensor(logits))


def _finish(run: _Run, watch: Watch) -> Trained:
    """Figures of the network that is handed over, over all photographs; only what is whole has a ``metrics.json``."""
    watch.handed_over.set_weights(watch.kept)
    scores = validate(watch.handed_over, run.held_out)
    run_folder.write_model(run.folder, watch.handed_over)  # it may be an older epoch's than the last
    run_folder.write_history(run.folder, watch.history)
    skipped = {**run.corpus.skipped, **{file: why for one in scores for file, why in one.skipped.items()}}
    config = {**run_folder.read_config(run.folder), "training": _training(run, watch)}
    if skipped:
        config["skipped_files"] = dict(sorted(skipped.items()))
    run_folder.write_config(run.folder, config)
    write_report(run.folder, scores, history=watch.history, config=config, network=watch.handed_over)
    run_folder.write_metrics(run.folder, {one.name: figures(one) for one in scores})
    return Trained(run.folder, run.recipe.name, run.data_root, scores, len(watch.history), skipped)


def _training(run: _Run, watch: Watch) -> dict[str, int]:
    """How much of it there was, for the model card; the time with validation after each epoch."""
    return {
        "epochs": len(watch.history),
        "steps": len(watch.history) * run.recipe.steps_per_epoch,
        "batch": run.recipe.batch,
        "wall_s": round(sum(line["wall_s"] for line in watch.history)),
    }


def _start_anew(folder: Path, epochs_kept: int) -> str:
    if not epochs_kept:
        return "start anew with a smaller learning_rate"
    return f"start anew from epoch {epochs_kept}: --weights {folder / run_folder.MODEL} and a smaller learning_rate"


def _config(run: _Run) -> dict[str, Any]:
    origin: dict[str, Any] = {"weights": None, "weights_from": None}
    if run.weights is not None:
        file = Path(run.weights)
        origin = {"weights": file.name, "weights_from": run.weights}
        if file.is_file():
            origin["weights_from"] = str(file.absolute())
            origin["weights_sha256"] = file_sha256(file)
    sets = [
        {
            **_listed(labelled),
            "kind": labelled.kind,
            "weight": use.weight,
            "licence": use.licence,
            "source": use.source,
            "gsd_mm": use.gsd_mm,
            "skipped": len(labelled.skipped),
        }
        for labelled, use in zip(run.corpus.sets, run.corpus.uses, strict=True)
    ]
    return {
        "schema": 1,
        "recipe": run.recipe,
        "network_end": LOGITS,
        **origin,
        "data_root": str(run.data_root.absolute()),
        "sets": sets,
        "lineage": lineage(run.weights, run.recipe.teacher, sets=sets),
        "held_out": [{**_listed(labelled), "value_clear": labelled.value_clear} for labelled in run.held_out],
        "split_inside": run.corpus.split_inside,
        "leaks": run.corpus.leaks,
        "tools": {"keras": keras.__version__, "backend": keras.backend.backend(), "numpy": np.__version__},
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS"),
    }


def _listed(labelled: LabelledSet) -> dict[str, Any]:
    return {
        "name": labelled.base_name,
        "photographs": len(labelled.items),
        "names_sha256": labelled.names_sha256,
    }


def _changes(config: Mapping[str, Any], run: _Run) -> str:
    """In which sets the files are not those that a run began with; empty where all are."""
    changes = []
    for split, sets in (("sets", run.corpus.sets), ("held_out", run.held_out)):
        before = {one["name"]: one for one in config[split]}
        now = {one["name"]: one for one in map(_listed, sets)}
        for name in sorted(before.keys() | now.keys()):
            was, found = _count(before.get(name)), _count(now.get(name))
            if was != found:
                changes.append(f"{name}{' val' if split == 'held_out' else ''}: {was} photographs, now {found}")
            elif before[name]["names_sha256"] != now[name]["names_sha256"]:
                changes.append(f"{name}{' val' if split == 'held_out' else ''}: {was} photographs of other names")
    return ", ".join(changes)


def _count(listed: Mapping[str, Any] | None) -> int:
    return int(listed["photographs"]) if listed else 0
