"""Does the file compute what the network computes? Asked of the robot's own interpreter, on real tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from crackedge.benchmarks.metrics import auc
from crackedge.edge_runtime.errors import ProofError
from crackedge.edge_runtime.interpreter import Interpreter
from crackedge.edge_runtime.lattice import TILE

# Quantisation moves logits by steps; a float file may differ by rounding alone.
MIN_CORRELATION = {"int8": 0.98, "float32": 0.99999}
MAX_AUC_LOSS = {"int8": 0.02, "float32": 1e-4}
_BATCH = 16


@dataclass(frozen=True, slots=True)
class Parity:
    """A file beside its network, on the same tiles.

    Attributes:
        tiles: how many were compared.
        mean_abs_logit: mean absolute difference of a tile's logit.
        correlation: of the tiles' logits.
        decisions_equal: share of tiles on the same side of the network's best-separating logit.
        auc_network: of the network's logits.
        auc_file: of the file's.
        runtime: the interpreter that ran the file.
    """

    tiles: int
    mean_abs_logit: float
    correlation: float
    decisions_equal: float
    auc_network: float | None
    auc_file: float | None
    runtime: str

    def as_dict(self) -> dict[str, Any]:
        """Rounded, for the card."""
        return {key: round(value, 5) if isinstance(value, float) else value for key, value in asdict(self).items()}


def compare(
    network: keras.Model, flatbuffer: bytes, tiles: npt.NDArray[np.uint8], labels: npt.NDArray[np.bool_], *, origin: str
) -> Parity:
    """Run a network and the flatbuffer made of it on the same tiles.

    Args:
        network: (N, 224, 224, 3) in [0, 255] to (N, 7, 7, 1).
        flatbuffer: the file's model part.
        tiles: (N, 224, 224, 3) uint8 RGB.
        labels: (N,) True for crack.
        origin: what to name in errors.
    """
    interpreter = Interpreter(flatbuffer, threads=2, origin=origin)
    expected: list[npt.NDArray[np.float32]] = []
    found: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(tiles), _BATCH):
        batch = tiles[start : start + _BATCH]
        expected.append(np.asarray(network.predict_on_batch(batch.astype(np.float32))).mean((1, 2, 3)))
        interpreter.resize(len(batch), TILE, TILE)
        interpreter.input()[:] = batch
        found.append(interpreter.invoke().mean((1, 2, 3)))
    network_logits, file_logits = np.concatenate(expected), np.concatenate(found)
    threshold = _separating(network_logits, labels)
    spread = min(network_logits.std(), file_logits.std())
    return Parity(
        tiles=len(tiles),
        mean_abs_logit=float(np.abs(network_logits - file_logits).mean()),
        correlation=float(np.corrcoef(network_logits, file_logits)[0, 1]) if spread > 0 else 0.0,
        decisions_equal=float(((network_logits >= threshold) == (file_logits >= threshold)).mean()),
        auc_network=auc(network_logits, labels),
        auc_file=auc(file_logits, labels),
        runtime=interpreter.runtime,
    )


def require(parity: Parity, variant: str, *, origin: str) -> None:
    """Let a file pass, or not.

    Raises:
        ProofError: it computes something else than its network.
    """
    faults: list[str] = []
    if not parity.correlation >= MIN_CORRELATION[variant]:
        faults.append(f"correlation {parity.correlation:.4f}, expected at least {MIN_CORRELATION[variant]}")
    if parity.auc_network is not None and parity.auc_file is not None:
        loss = parity.auc_network - parity.auc_file
        if loss > MAX_AUC_LOSS[variant]:
            faults.append(
                f"AUC {parity.auc_file:.4f} against {parity.auc_network:.4f}, "
                f"expected a loss of at most {MAX_AUC_LOSS[variant]}"
            )
    if faults:
        raise ProofError(
            f"{origin}: the {variant} file does not compute what the network does on {parity.tiles} tiles "
            f"({'; '.join(faults)}); nothing was written. Try --variant float32, or more varied calibration tiles"
        )


def _separating(logits: npt.NDArray[np.float32], labels: Sequence[bool] | npt.NDArray[np.bool_]) -> float:
    """Midway between the classes' medians; 0 for one class."""
    labels = np.asarray(labels)
    if not labels.any() or labels.all():
        return 0.0
    return float((np.median(logits[labels]) + np.median(logits[~labels])) / 2)
