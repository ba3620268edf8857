"""Validation: what a network in training says about photographs that it does not learn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from crackedge.benchmarks.calibration import sigmoid
from crackedge.benchmarks.data_sets import Entry, LabelledSet, LabelledWindow, pictures
from crackedge.benchmarks.metrics import summary
from crackedge.edge_runtime.errors import DataError
from crackedge.edge_runtime.lattice import TILE
from crackedge.edge_runtime.sources.source import Skipped
from crackedge.train.errors import TrainingError

_BATCH_TILES = 32


@dataclass(frozen=True, slots=True)
class SetScores:
    """What a network says about each window of a set, cut out and classified by itself.

    Attributes:
        name: of the set.
        entries: N, the photograph of each window; ``read_picture(entry)`` gives the pixels that were scored.
        windows: N, where the window lies in that picture, and its class.
        logits: (N,) float32, means of the windows' 49 logits, not calibrated.
        skipped: photographs that could not be read, and why.
    """

    name: str
    entries: tuple[Entry, ...]
    windows: tuple[LabelledWindow, ...]
    logits: npt.NDArray[np.float32]
    skipped: Mapping[str, str]

    @property
    def labels(self) -> npt.NDArray[np.bool_]:
        """(N,) bool, True is crack."""
        return np.array([window.crack for window in self.windows], np.bool_)


def validate(
    network: keras.Model, sets: list[LabelledSet], *, most_photographs: int | None = None
) -> tuple[SetScores, ...]:
    """Scores of each set's windows; a set without windows is left out.

    Args:
        network: from (N, H, W, 3) float32 pixels to (N, H/32, W/32, 1) logits.
        sets: what to score.
        most_photographs: of each set, spread evenly over its list; None takes all.

    Raises:
        DataError: most of a set's photographs cannot be read.
        TrainingError: a logit is not a number.
    """
    scores = []
    for labelled in sets:
        step = 1 if most_photographs is None else -(-len(labelled.items) // most_photographs)
        one = _scores(network, dataclasses.replace(labelled, items=labelled.items[::step]))
        if one.windows:
            scores.append(one)
    return tuple(scores)


def figures(scores: SetScores) -> dict[str, Any]:
    """Figures of a set at probability 0.5 of its uncalibrated logits.

    ``log_loss`` is the mean cross-entropy in nats. A set of one class has no AUC; ``mean_score`` says how sure the
    network is there.
    """
    labels, logits = scores.labels, scores.logits.astype(np.float64)
    probability = sigmoid(logits)
    return {
        **summary(probability, labels, threshold=0.5),
        "mean_score": round(float(probability.mean()), 4),
        "log_loss": round(float((np.logaddexp(0, logits) - labels * logits).mean()), 5),
    }


def _scores(network: keras.Model, labelled: LabelledSet) -> SetScores:
    entries: list[Entry] = []
    windows: list[LabelledWindow] = []
    tiles: list[npt.NDArray[np.uint8]] = []
    logits: list[npt.NDArray[np.float32]] = []

    def classify() -> None:
        batch = np.zeros((_BATCH_TILES, TILE, TILE, 3), np.float32)  # always as many: no backend compiles it twice
        batch[: len(tiles)] = tiles
        maps = np.asarray(network.predict_on_batch(batch), np.float32)
        logits.append(maps[: len(tiles)].mean((1, 2, 3)))
        tiles.clear()

    skipped: list[Skipped] = []
    for entry, picture in pictures(labelled, skipped):
        for window in picture.windows:
            entries.append(entry)
            windows.append(window)
            tiles.append(picture.image[window.y : window.y + TILE, window.x : window.x + TILE])
            if len(tiles) == _BATCH_TILES:
                classify()
    if tiles:
        classify()
    if 2 * len(skipped) > len(labelled.items):
        raise DataError(
            f"{labelled.path}: {len(skipped)} of {len(labelled.items)} photographs could not be read; the last: "
            f"{skipped[-1].reason}"
        )
    scored = np.concatenate(logits) if logits else np.zeros(0, np.float32)
    if not np.isfinite(scored).all():
        raise TrainingError(f"{labelled.name}: {np.count_nonzero(~np.isfinite(scored))} logits are not numbers")
    named = {str(labelled.path / one.file): one.reason for one in skipped}
    return SetScores(labelled.base_name, tuple(entries), tuple(windows), scored, named)
