"""The training loop: a frozen head first, then the whole network, with every validation set watched by itself."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import numpy.typing as npt

from crackedge.benchmarks.calibration import sigmoid
from crackedge.benchmarks.data_sets import LabelledSet, Skipped, find_sets, pictures
from crackedge.benchmarks.metrics import summary
from crackedge.edge_runtime.errors import CrackedgeError, DataError
from crackedge.edge_runtime.lattice import TILE
from crackedge.train import run_folder
from crackedge.train.batches import CanvasBatches
from crackedge.train.corpus import Corpus, gather
from crackedge.train.network import LOGITS, MapLoss, build_network, training_model, unfreeze
from crackedge.train.recipe import Recipe

_BATCH_TILES = 32
_EPOCH_PHOTOGRAPHS = 200  # of each validation set, after each epoch; all of them at the end


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands.

    Attributes:
        step: steps done.
        steps: steps of the whole run.
        loss: mean loss of the epoch so far.
        canvases_s: canvases trained on, per second, over the last steps.
        remaining_s: what is left of the training itself, in seconds, at this rate.
        epoch_line: the history line of an epoch that has just ended.
    """

    step: int
    steps: int
    loss: float
    canvases_s: float
    remaining_s: float
    epoch_line: dict[str, Any] | None = None


class TrainingError(CrackedgeError, ArithmeticError):
    """Training came to nothing: the loss is not a number."""


def fit(
    data_root: Path,
    folder: Path,
    recipe: Recipe,
    *,
    weights: str | Path | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> dict[str, Any]:
    """Train a network and leave it, with its figures, in a run folder.

    Args:
        data_root: a folder of data sets with ``train`` and ``val`` splits.
        folder: the run folder, new or empty.
        recipe: what to train.
        weights: of the backbone: a file, ``"imagenet"`` or None.
        report: called after every step and epoch.

    Returns:
        Figures of each validation set.

    Raises:
        DataError: the data are not fit for training.
        OptionError: the weights are not the backbone's.
        OutputError: the run folder cannot be used.
        TrainingError: the loss is not a number; the last epoch's network is kept.
    """
    corpus = gather(data_root, recipe)
    try:
        held_out = find_sets(data_root, split="val")
    except DataError:
        held_out = []
    keras.utils.set_random_seed(recipe.seed)
    cv2.setNumThreads(1)  # the batches' own threads and the network share the cores already
    network = build_network(alpha=recipe.alpha, weights=weights)
    run_folder.create(folder)
    run_folder.write_config(folder, _config(recipe, corpus, held_out, weights))

    total = recipe.head_epochs + recipe.epochs
    watch = _Watch(folder, network, held_out, report, steps=total * recipe.steps_per_epoch, batch=recipe.batch)
    model = training_model(network)
    batches = CanvasBatches(corpus, recipe)
    for first, last, trainable in ((0, recipe.head_epochs, False), (recipe.head_epochs, total, True)):
        if first == last:
            continue
        if trainable:
            if weights is None:  # nothing learnt yet that could be kept
                unfreeze(network, train_from="", batch_norm="train")
            else:
                unfreeze(network, train_from=recipe.train_from, batch_norm=recipe.batch_norm)
        else:
            network.get_layer("backbone").trainable = False
        optimizer = keras.optimizers.AdamW(
            learning_rate=_schedule(recipe, (last - first) * recipe.steps_per_epoch)
            if trainable
            else recipe.head_learning_rate,
            weight_decay=recipe.weight_decay,
            clipnorm=1.0,
            use_ema=trainable and recipe.ema > 0,
            ema_momentum=recipe.ema,
        )
        averaged = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if optimizer.use_ema else []
        model.compile(optimizer, MapLoss(recipe.cell_share), jit_compile=False)
        model.fit(
            batches,
            initial_epoch=first,
            epochs=last,
            verbose=0,
            callbacks=[*averaged, watch, keras.callbacks.TerminateOnNaN()],
        )
        if watch.failed:
            raise TrainingError(
                f"{folder}: the loss is not a number; try a smaller learning_rate. The last epoch's model is kept"
            )
    run_folder.draw_curves(folder, watch.history)
    metrics = validate(network, held_out)
    run_folder.write_metrics(folder, metrics)
    if corpus.skipped:
        run_folder.write_config(
            folder, {**run_folder.read_config(folder), "skipped_files": dict(sorted(corpus.skipped.items()))}
        )
    return {"sets": metrics, "skipped_files": corpus.skipped}


def validate(
    network: keras.Model, sets: list[LabelledSet], *, most_photographs: int | None = None
) -> dict[str, dict[str, Any]]:
    """Figures of a network on each set, window by window, at probability 0.5 of its uncalibrated logits.

    ``most_photographs`` limits each set to that many, spread evenly over its list.

    A set of one class has no AUC; ``mean_score`` then says how sure the network is.
    """
    figures: dict[str, dict[str, Any]] = {}
    for labelled in sets:
        step = 1 if most_photographs is None else -(-len(labelled.items) // most_photographs)
        logits, truths = tile_logits(network, dataclasses.replace(labelled, items=labelled.items[::step]))
        if truths.size:
            scores = sigmoid(logits)
            figures[labelled.base_name] = {
                **summary(scores, truths, threshold=0.5),
                "mean_score": round(float(scores.mean()), 4),
            }
    return figures


def tile_logits(network: keras.Model, labelled: LabelledSet) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Mean logit and truth of each window of a set, cut out and classified by itself."""
    tiles: list[npt.NDArray[np.uint8]] = []
    truths: list[bool] = []
    logits: list[npt.NDArray[np.float32]] = []

    def classify() -> None:
        maps = network.predict_on_batch(np.stack(tiles).astype(np.float32))
        logits.append(np.asarray(maps, np.float32).mean((1, 2, 3)))
        tiles.clear()

    skipped: list[Skipped] = []
    for _, picture in pictures(labelled, skipped):
        for window in picture.windows:
            tiles.append(picture.image[window.y : window.y + TILE, window.x : window.x + TILE])
            truths.append(window.crack)
            if len(tiles) == _BATCH_TILES:
                classify()
    if tiles:
        classify()
    return np.concatenate(logits) if logits else np.zeros(0, np.float32), np.array(truths, np.bool_)


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Reports each step; after each epoch validates, saves the network, writes the history."""

    def __init__(
        self,
        folder: Path,
        network: keras.Model,
        held_out: list[LabelledSet],
        report: Callable[[Progress], None],
        *,
        steps: int,
        batch: int,
    ) -> None:
        super().__init__()
        self.folder, self.network, self.held_out, self.report = folder, network, held_out, report
        self.steps, self.batch, self.step = steps, batch, 0
        self.history: list[dict[str, Any]] = []
        self.failed = False
        self._rate = 0.0
        self._since = self._epoch_since = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        del epoch, logs
        self._since = self._epoch_since = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        del batch
        now = time.monotonic()
        rate = self.batch / max(now - self._since, 1e-6)
        self._rate = rate if self._rate == 0 else 0.95 * self._rate + 0.05 * rate
        self._since = now
        self.step += 1
        self.report(self._progress(float((logs or {}).get("loss", math.nan))))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        loss = float((logs or {}).get("loss", math.nan))
        if not math.isfinite(loss):
            self.failed = True
            return
        trained_s = time.monotonic() - self._epoch_since
        self.network.save(self.folder / "model.part.keras")
        (self.folder / "model.part.keras").replace(self.folder / run_folder.MODEL)
        line = {
            "epoch": epoch + 1,
            "loss": round(loss, 5),
            "seconds": round(trained_s, 1),
            "val": validate(self.network, self.held_out, most_photographs=_EPOCH_PHOTOGRAPHS),
        }
        self.history.append(line)
        run_folder.append_history(self.folder, line)
        self.report(self._progress(loss, line))

    def _progress(self, loss: float, line: dict[str, Any] | None = None) -> Progress:
        left = (self.steps - self.step) * self.batch / self._rate if self._rate else math.inf
        return Progress(self.step, self.steps, loss, self._rate, left, line)


def _schedule(recipe: Recipe, steps: int) -> Any:
    """A warm-up of at most 300 steps, then a cosine."""
    warm = min(300, steps // 10)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=recipe.learning_rate / 20,
        decay_steps=max(1, steps - warm),
        warmup_target=recipe.learning_rate if warm else None,
        warmup_steps=warm,
        alpha=recipe.final_rate,
    )


def _config(recipe: Recipe, corpus: Corpus, held_out: list[LabelledSet], weights: str | Path | None) -> dict[str, Any]:
    origin: dict[str, Any] = {"weights": None}
    if weights is not None:
        file = Path(str(weights))
        origin = {"weights": file.name}
        if file.is_file():
            origin["weights_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    return {
        "schema": 1,
        "recipe": recipe,
        "network_end": LOGITS,
        **origin,
        "sets": [
            {
                "name": labelled.base_name,
                "kind": labelled.kind,
                "photographs": len(labelled.items),
                "weight": use.weight,
                "licence": use.licence,
                "source": use.source,
                "skipped": len(labelled.skipped),
            }
            for labelled, use in zip(corpus.sets, corpus.uses, strict=True)
        ],
        "held_out": [{"name": labelled.base_name, "photographs": len(labelled.items)} for labelled in held_out],
        "tools": {"keras": keras.__version__, "backend": keras.backend.backend(), "numpy": np.__version__},
    }
