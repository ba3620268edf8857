"""Watching a run: where it stands, what each epoch reached, and whether it should go on."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from crackedge.benchmarks.data_sets import LabelledSet
from crackedge.edge_runtime.errors import CrackedgeError, DataError
from crackedge.train import checkpoint, run_folder
from crackedge.train.batches import CanvasBatches
from crackedge.train.checkpoint import Arrays
from crackedge.train.errors import TrainingError, TrainingStopped
from crackedge.train.normalisation import take_statistics
from crackedge.train.phases import best_epoch, is_over, phases
from crackedge.train.recipe import Recipe
from crackedge.train.validation import figures, validate

_EPOCH_PHOTOGRAPHS = 200  # of each validation set, after each epoch; all of them at the end
_STATISTICS_CANVASES = 128  # that normalisation takes its statistics from, after each epoch


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


class Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Reports each step; after each epoch validates, writes the history, and keeps network and checkpoint.

    What goes wrong is noted and ends the run by Keras' own means. An error raised through Keras keeps the iterator over
    the batches alive, and TensorFlow's aborts the process when that ends first.

    Attributes:
        batches: the batches of the phase that is being trained.
        phase: the phase that is being trained.
        history: a line for each epoch done.
        kept: weights of the network to hand over; with ``patience`` the best epoch's, otherwise the last one's.
        epochs_kept: how many epochs are safe on disk.
        failure: why the run cannot go on.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        *,
        trained: keras.Model,
        handed_over: keras.Model,
        held_out: list[LabelledSet],
        trained_on: frozenset[str],
        history: list[dict[str, Any]],
        kept: Arrays,
        report: Callable[[Progress], None],
        stop: Callable[[], bool],
    ) -> None:
        super().__init__()
        self.folder, self.recipe, self.held_out, self.trained_on = folder, recipe, held_out, trained_on
        self.trained, self.handed_over = trained, handed_over
        self.history, self.kept, self.report, self.stop = history, kept, report, stop
        self.phase = phases(recipe)[0]
        self.batches: CanvasBatches | None = None
        self.failure: CrackedgeError | None = None
        self.epochs_kept = len(history)
        self._step_in_epoch = 0
        self._canvases_s = self._since_s = self._epoch_since_s = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        del epoch, logs
        self._step_in_epoch = 0
        self._since_s = self._epoch_since_s = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Say where the run stands."""
        del batch
        now_s = time.monotonic()
        rate = self.recipe.batch / max(now_s - self._since_s, 1e-6)
        self._canvases_s = 0.95 * self._canvases_s + 0.05 * rate if self._canvases_s else rate
        self._since_s = now_s
        self._step_in_epoch += 1
        with self._noting_failure():
            if self.batches and self.batches.failure:
                raise self.batches.failure
            self.report(self._progress(self._loss(logs)))
            if self.stop():
                raise TrainingStopped(f"{self.folder}: stopped in epoch {len(self.history) + 1}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Validate and keep what was reached; end the phase when it is over."""
        del epoch
        if not self.failure:
            with self._noting_failure():
                self._keep(self._loss(logs), time.monotonic() - self._epoch_since_s)

    def _keep(self, loss: float, trained_s: float) -> None:
        with self._averaged():
            take_statistics(self.trained, self._first_batches())
            if self.handed_over is not self.trained:
                self.handed_over.set_weights(self.trained.get_weights())
            scores = validate(self.handed_over, self.held_out, most_photographs=_EPOCH_PHOTOGRAPHS)
            line = self._line(loss, trained_s, {one.name: figures(one) for one in scores})
            self.history.append(line)
            self._step_in_epoch = 0
            if not self.recipe.patience or best_epoch(self.history) == len(self.history):
                self.kept = self.handed_over.get_weights()
                run_folder.write_model(self.folder, self.handed_over)
        run_folder.write_history(self.folder, self.history)
        checkpoint.save(self.folder, checkpoint.take(self.model, history=self.history, kept=self.kept))
        self.epochs_kept = len(self.history)
        run_folder.log_tensorboard(self.folder, line)
        self.report(self._progress(loss, line))
        self.model.stop_training = is_over(self.phase, self.history, self.recipe)

    def _first_batches(self) -> Iterator[Any]:
        """Pixels of the first batches of the epoch that has just ended: the same ones after a cut."""
        assert self.batches is not None
        recipe = self.recipe
        first = (len(self.history) - self.batches.epoch) * recipe.steps_per_epoch
        for index in range(min(recipe.steps_per_epoch, -(-_STATISTICS_CANVASES // recipe.batch))):
            pixels, _ = self.batches[first + index]
            if self.batches.failure:
                raise self.batches.failure
            yield pixels

    def _line(self, loss: float, trained_s: float, val: dict[str, dict[str, Any]]) -> dict[str, Any]:
        # Sets that are not trained on are there to be told how general the network is; they must not choose the epoch.
        watched = [one["log_loss"] for name, one in val.items() if name in self.trained_on]
        if self.recipe.patience and not watched:
            raise DataError(
                f"{self.folder}: no held-out photograph of the sets that are trained on has a window that counts, and "
                f"patience = {self.recipe.patience} needs a validation loss; set patience = 0, or hold out others"
            )
        return {
            "epoch": len(self.history) + 1,
            "phase": self.phase.name,
            "loss": round(loss, 5),
            "val_loss": round(sum(watched) / len(watched), 5) if watched else None,
            "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
            "seconds": round(trained_s, 1),
            "canvases_s": round(self._step_in_epoch * self.recipe.batch / trained_s, 2),
            "wall_s": round(time.monotonic() - self._epoch_since_s, 1),
            "val": val,
        }

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The model with the moving average of its weights, where the optimizer has one."""
        if not self.model.optimizer.use_ema:
            yield
            return
        swap = keras.callbacks.SwapEMAWeights()
        swap.set_model(self.model)
        swap.on_test_begin()
        yield
        swap.on_test_end()

    def _loss(self, logs: dict[str, Any] | None) -> float:
        loss = float((logs or {}).get("loss", math.nan))
        if not math.isfinite(loss):
            raise TrainingError(f"{self.folder}: the loss is {loss} in epoch {len(self.history) + 1}")
        return loss

    @contextlib.contextmanager
    def _noting_failure(self) -> Iterator[None]:
        try:
            yield
        except CrackedgeError as error:
            self.failure = type(error)(*error.args)  # anew: the traceback would keep alive what it came through
            self.model.stop_training = True

    def _progress(self, loss: float, line: dict[str, Any] | None = None) -> Progress:
        step = len(self.history) * self.recipe.steps_per_epoch + self._step_in_epoch
        steps = sum(phase.epochs for phase in phases(self.recipe)) * self.recipe.steps_per_epoch
        left_s = (steps - step) * self.recipe.batch / self._canvases_s if self._canvases_s else math.inf
        return Progress(step, steps, loss, self._canvases_s, left_s, line)
