"""The phases of a run: a frozen backbone first, so that a new head does not spoil it, then the whole network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras

from crackedge.train.network import unfreeze
from crackedge.train.recipe import Recipe

History = Sequence[Mapping[str, Any]]  # a line for each epoch that is done, as in history.jsonl


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of epochs with one optimizer.

    Attributes:
        name: ``"head"`` with a frozen backbone, or ``"whole"``.
        epochs: how many at most.
    """

    name: Literal["head", "whole"]
    epochs: int


def phases(recipe: Recipe) -> tuple[Phase, ...]:
    """The phases that the recipe gives any epochs, in their order."""
    both = Phase("head", recipe.head_epochs), Phase("whole", recipe.epochs)
    return tuple(phase for phase in both if phase.epochs)


def epochs_before(phase: Phase, history: History) -> int:
    """How many epochs were done when the phase began."""
    return sum(line["phase"] != phase.name for line in history) if phase.name == "whole" else 0


def is_over(phase: Phase, history: History, recipe: Recipe) -> bool:
    """Whether a phase has had its epochs, or ``patience`` of them without a better validation loss than ever before."""
    before = epochs_before(phase, history)
    done = sum(line["phase"] == phase.name for line in history)
    if done >= phase.epochs:
        return True
    return done > 0 and 0 < recipe.patience <= len(history) - max(best_epoch(history), before)


def best_epoch(history: History) -> int:
    """The number, from 1, of the epoch with the lowest validation loss."""
    return min(range(len(history)), key=lambda index: history[index]["val_loss"]) + 1


def enter(phase: Phase, network: keras.Model, recipe: Recipe, *, pretrained: bool) -> None:
    """Set which layers of the network learn in a phase."""
    if phase.name == "head":
        network.get_layer("backbone").trainable = False
    elif pretrained:
        unfreeze(network, train_from=recipe.train_from, batch_norm=recipe.batch_norm)
    else:  # nothing learnt yet that could be kept
        unfreeze(network, train_from="", batch_norm="train")


def new_optimizer(phase: Phase, recipe: Recipe) -> keras.optimizers.Optimizer:
    """The optimizer of a phase, with its learning rate's schedule, at the phase's first step."""
    whole = phase.name == "whole"
    rate = _schedule(recipe, phase.epochs * recipe.steps_per_epoch) if whole else recipe.head_learning_rate
    average = {"use_ema": whole and recipe.ema > 0, "ema_momentum": recipe.ema}
    if recipe.optimizer == "adam":  # as notebooks use it
        return keras.optimizers.Adam(learning_rate=rate, **average)
    return keras.optimizers.AdamW(learning_rate=rate, weight_decay=recipe.weight_decay, clipnorm=1.0, **average)


def _schedule(recipe: Recipe, steps: int) -> Any:
    """The recipe's rate throughout, or a warm-up of at most 300 steps and then a cosine."""
    if recipe.schedule == "constant":
        return recipe.learning_rate
    warm = min(300, steps // 10)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=recipe.learning_rate / (20 if warm else 1),
        decay_steps=max(1, steps - warm),
        warmup_target=recipe.learning_rate if warm else None,
        warmup_steps=warm,
        alpha=recipe.final_rate,
    )
