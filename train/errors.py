"""Errors of training, beside those of :mod:`crackedge.edge_runtime.errors`."""

from __future__ import annotations

from crackedge.edge_runtime.errors import CrackedgeError


class TrainingError(CrackedgeError, ArithmeticError):
    """Training came to nothing: loss or logits are not numbers."""


class TrainingStopped(CrackedgeError):  # noqa: N818 - nothing went wrong
    """Somebody asked a run to stop; its last complete epoch is kept."""
