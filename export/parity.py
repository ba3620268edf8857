"""Does a file compute what its network computes? Asked of the robot's own interpreter.

Two steps. The float32 file is held against Keras, number by number, in sizes from a tile to a mosaic. Every other file
is held against the float32 file on all validation photographs, set by set and engine by engine: the same decisions at
the thresholds of its card, and no loss of order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from crackedge.benchmarks.evaluation import SetLogits, window_scores
from crackedge.benchmarks.metrics import auc
from crackedge.edge_runtime.errors import ModelError, ProofError
from crackedge.edge_runtime.lattice import CELL, TILE
from crackedge.edge_runtime.models.card import Calibration
from crackedge.edge_runtime.models.golden import picture
from crackedge.edge_runtime.models.interpreter import Interpreter
from crackedge.export.convert import Front

TOLERANCE = {
    "float32_from_keras": 1e-3,  # of a logit or probability; a share of it where it is larger than 1
    "auc_loss": 0.01,
    "decisions_equal": 0.96,
    "decisions_equal_on_easy_sets": 0.99,
    "easy_auc": 0.999,  # of the float32 file
}
_SIZES = ((TILE, TILE), (8 * CELL, 10 * CELL), (2 * TILE, 2 * TILE))  # height, width in pixels
_PICTURES = 3  # of each size

Logits = Mapping[str, Sequence[SetLogits]]  # by engine, in the order of the sets


@dataclass(frozen=True, slots=True)
class Agreement:
    """A file beside the float32 file, on one set, by one engine.

    Attributes:
        n: windows compared.
        decisions_equal: share of windows on the same side of the card's default threshold.
        mean_abs_logit: mean absolute difference of a window's logit.
        auc: of the file.
        auc_float32: of the float32 file.
    """

    n: int
    decisions_equal: float
    mean_abs_logit: float
    auc: float | None
    auc_float32: float | None

    @property
    def faults(self) -> list[str]:
        """What is out of tolerance; a single window is never a fault."""
        found = []
        easy = self.auc_float32 is not None and self.auc_float32 >= TOLERANCE["easy_auc"]
        least = TOLERANCE["decisions_equal_on_easy_sets" if easy else "decisions_equal"]
        flipped = round((1 - self.decisions_equal) * self.n)
        if flipped > max(1.0, (1 - least) * self.n):
            found.append(f"{flipped} of {self.n} decisions differ, expected at most {1 - least:.0%}")
        if self.auc is not None and self.auc_float32 is not None:
            loss = self.auc_float32 - self.auc
            if loss > TOLERANCE["auc_loss"]:
                found.append(
                    f"AUC {self.auc:.4f} against {self.auc_float32:.4f}, expected a loss of at most "
                    f"{TOLERANCE['auc_loss']}"
                )
        return found

    def as_dict(self) -> dict[str, Any]:
        """Rounded, for the card."""
        return {key: round(value, 5) if isinstance(value, float) else value for key, value in asdict(self).items()}


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A file held against the float32 file.

    Attributes:
        flatbuffer: its model part.
        logits: what it said of the held-out photographs, by engine.
        calibration: its own, by engine.
        agreements: by engine and set.
    """

    flatbuffer: bytes
    logits: Logits
    calibration: Mapping[str, Calibration]
    agreements: Mapping[str, Mapping[str, Agreement]]

    @property
    def faults(self) -> list[str]:
        """Everything out of tolerance, a line for each."""
        return [
            f"{engine}, {name}: {fault}"
            for engine, sets in self.agreements.items()
            for name, agreement in sets.items()
            for fault in agreement.faults
        ]


def judge(
    flatbuffer: bytes, logits: Logits, calibration: Mapping[str, Calibration], default: str, *, reference: Logits
) -> Judged:
    """Hold a file against the float32 file.

    Args:
        flatbuffer: the file's model part.
        logits: what it said of the held-out photographs.
        calibration: the file's, by engine; both files are read by it.
        default: name of the operating point that decides.
        reference: what the float32 file said of the same photographs.
    """
    compared = {
        engine: {
            one.name: _agreement(one, other, calibration[engine], default)
            for one, other in zip(reference[engine], logits[engine], strict=True)
            if one.window_labels.size
        }
        for engine in logits
    }
    return Judged(flatbuffer, logits, calibration, compared)


def require_front(flatbuffer: bytes, front: Front, *, origin: str) -> None:
    """Refuse a file whose input does not mean what its card says.

    Raises:
        ProofError: another type, or another scale baked into the input.
    """
    network = Interpreter(flatbuffer, threads=1, origin=origin)
    scale, zero_point = network.input_quantization
    same = np.isclose(scale, front.scale, rtol=2e-3) and abs(zero_point - front.zero_point) <= 1
    if network.input_dtype.name != front.dtype or not same:
        raise ProofError(
            f"{origin}: its input is {network.input_dtype.name} in steps of {scale:.6g} from {zero_point}, and by its "
            f"card {front.dtype} in steps of {front.scale:.6g} from {front.zero_point}: what is baked into the file is "
            "not the network's preprocessing; take --variants dynamic or float32, or save the network without its "
            "preprocessing and give --input-range"
        )


def require_any_size(flatbuffer: bytes, *, origin: str) -> None:
    """Refuse a logit map that does not run at other sizes than the one it was converted at.

    Raises:
        ProofError: a size is baked into its graph.
    """
    network = Interpreter(flatbuffer, threads=1, origin=origin)
    for batch, (height, width) in ((2, _SIZES[0]), (1, _SIZES[1])):
        expected = (batch, height // CELL, width // CELL, 1)
        try:
            network.resize(batch, height, width)
            network.input()[:] = 0
            given = network.invoke().shape
        except ModelError as error:
            reason = str(error)
        else:
            if given == expected:
                continue
            reason = f"gives {given}, expected {expected}"
        raise ProofError(
            f"{origin}: does not run on {batch} of {width}x{height} px, so it cannot scan frames: a size is baked into "
            f"its graph, by a reshape or a dense layer ({reason}); --head probability makes a plain tile model of it"
        )


def require_same(network: keras.Model, flatbuffer: bytes, *, head: str, origin: str) -> dict[str, Any]:
    """Hold the float32 file against its network, and give how far they are apart, for the card.

    Args:
        network: what Keras computes, from pixels in [0, 255].
        flatbuffer: the float32 file's, without a card.
        head: ``"logit-map"``, compared in several sizes, or ``"probability"``, compared on tiles.
        origin: what to name in errors.

    Raises:
        ProofError: they are further apart than rounding, or the network gives no numbers.
    """
    interpreter = Interpreter(flatbuffer, threads=2, origin=origin)
    worst, count = 0.0, 0
    for height, width in _SIZES if head == "logit-map" else _SIZES[:1]:
        for seed in range(_PICTURES):
            image = picture(seed, height, width)[None]
            expected = np.asarray(network.predict_on_batch(image.astype(np.float32)), np.float64)
            if not np.isfinite(expected).all():
                raise ProofError(f"{origin}: the network gives no numbers (NaN): its training diverged; train it again")
            interpreter.resize(1, height, width)
            interpreter.input()[:] = image
            worst = max(worst, _distance(expected, interpreter.invoke()))
            count += 1
    if not worst <= TOLERANCE["float32_from_keras"]:
        raise ProofError(
            f"{origin}: the converted network is up to {worst:.3g} off what Keras computes on {count} pictures, "
            f"expected {TOLERANCE['float32_from_keras']}; please report which layers it has"
        )
    return {"pictures": count, "largest_difference": float(f"{worst:.3g}"), "runtime": interpreter.runtime}


def _agreement(reference: SetLogits, found: SetLogits, calibration: Calibration, default: str) -> Agreement:
    threshold = calibration.operating_points[default].window_threshold
    said, expected = (window_scores(one, calibration) >= threshold for one in (found, reference))
    return Agreement(
        n=int(said.size),
        decisions_equal=float((said == expected).mean()),
        mean_abs_logit=float(np.abs(found.window_logits - reference.window_logits).mean()),
        auc=auc(found.window_logits, found.window_labels),
        auc_float32=auc(reference.window_logits, reference.window_labels),
    )


def _distance(expected: npt.NDArray[np.float64], found: npt.NDArray[np.float32]) -> float:
    """Largest difference; of numbers above 1 as a share of them."""
    if expected.shape != found.shape:
        return float("inf")
    return float((np.abs(expected - found) / np.maximum(1, np.abs(expected))).max())
