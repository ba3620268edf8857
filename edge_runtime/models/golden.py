"""The proof inside a model file: pictures given by a formula, and what the network must make of them.

Whoever exports a model records what it gives for a few pictures that anybody can draw from integers alone; whoever
loads it lets the interpreter found there compute them again. The limits, which stand in the card too:

- Integer output (int8 files): 2 steps in a cell, 0.5 on average. Two families of correct kernels differ by more,
  XNNPACK's and TFLite's built-in ones, because they round otherwise in every layer. Both are recorded, and one
  must be met. Within a family tflite-runtime 2.14, TensorFlow 2.21 and LiteRT 1.2 and 2.3 give the same to the step on
  x86-64, and LiteRT's XNNPACK the same on emulated ARM; ARM's built-in kernels, which nothing runs by default but
  tflite-runtime, are off by up to 6 steps and refused.
- Float output: 1e-3 of a logit, relative where the logit is larger than 1.
- Float output of a network that quantises what it computes on the way (dynamic range): one standard deviation of the
  recorded outputs, a tenth of it on average, because there one rounding decides over the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.errors import ModelError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.lattice import CELL, TILE
from crackedge.edge_runtime.models.card import ModelCard
from crackedge.edge_runtime.models.interpreter import Interpreter

# Light that falls off, dark zigzag lines of four widths, and grain of four strengths; C and Python read it alike.
FORMULA = (
    "light = abs(((x + 2*y + 50*seed) & 511) - 256) >> 2; "
    "bend = (abs((y & 127) - 64) + abs((7*y & 63) - 32)) >> 1; "
    "line = ((x + bend + 37*seed) & 127) < 2*((y >> 6) & 3); "
    "mix = (1103*x + 12347*y + 331*seed) & 32767; "
    "grain = (mix*(mix ^ 9541)) >> 5; "
    "value = (104 + light - 80*line + 8*channel + ((grain >> (2*channel)) & (7 + ((x >> 2) & 24)))) % 256"
)
STEPS, LOGITS = "output steps", "logits"

_MAP_VECTORS = ((1, TILE, TILE), (2, 256, 352))  # seed, height, width in pixels
_CLASSIFIER_VECTORS = ((1, TILE, TILE), (2, TILE, TILE), (3, TILE, TILE))
_INT8_LIMITS, _INT16_LIMITS = (2.0, 0.5), (64.0, 16.0)  # largest, mean; 64 steps of 16 bits are a quarter of one of 8
_FLOAT_LIMIT = 1e-3
_DIGITS = 6

# What a card may ask of the robot that loads it.
_MOST_VECTORS, _MOST_KERNELS, _MOST_PIXELS, _LARGEST_SEED = 8, 4, 512 * 512, 1000


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far one golden vector was missed.

    Attributes:
        height: of its picture in pixels.
        width: of its picture in pixels.
        kernels: which of the recorded kernels came closest.
        largest: of all outputs, in ``unit``.
        mean: over all outputs, in ``unit``.
        largest_allowed: by the card.
        mean_allowed: by the card.
        unit: ``"output steps"``, or ``"logits"``, those above 1 as shares of themselves.
    """

    height: int
    width: int
    kernels: str
    largest: float
    mean: float
    largest_allowed: float
    mean_allowed: float
    unit: str

    @property
    def within(self) -> bool:
        """Whether it is small enough."""
        return self.largest <= self.largest_allowed and self.mean <= self.mean_allowed


@dataclass(frozen=True, slots=True, eq=False)
class _Vector:
    seed: int
    height: int
    width: int
    outputs: npt.NDArray[np.float64]  # (kernels, outputs)


@dataclass(frozen=True, slots=True)
class _Proof:
    unit: str
    largest: float
    mean: float
    kernels: tuple[str, ...]
    vectors: tuple[_Vector, ...]


def picture(seed: int, height: int, width: int) -> Image:
    """The picture of the formula, (height, width, 3) uint8 RGB."""
    x = np.arange(width, dtype=np.int32)
    y = np.arange(height, dtype=np.int32)[:, None]
    light = np.abs(((x + (2 * y + 50 * seed)) & 511) - 256) >> 2
    bend = (np.abs((y & 127) - 64) + np.abs((7 * y & 63) - 32)) >> 1
    line = ((x + (bend + 37 * seed)) & 127) < 2 * ((y >> 6) & 3)
    mix = (1103 * x + (12347 * y + 331 * seed)) & 32767
    grain = (mix * (mix ^ 9541)) >> 5
    surface, rough = 104 + light - 80 * line, 7 + ((x >> 2) & 24)
    pixels = np.empty((height, width, 3), np.uint8)
    for channel in range(3):
        pixels[:, :, channel] = surface + (8 * channel + ((grain >> (2 * channel)) & rough))
    return pixels


def record(flatbuffer: bytes, *, quantised: bool, origin: str) -> dict[str, Any]:
    """Golden vectors of a network, for its card. Record them of a file that was compared with its network.

    Args:
        flatbuffer: a logit map or a classifier, without a card.
        quantised: whether it computes in integers on the way, as int8 and dynamic-range files do.
        origin: what to name in errors, usually the file.

    Raises:
        ModelError: the network does not run.
    """
    network = Interpreter(flatbuffer, threads=1, origin=origin)
    networks = {network.runtime: network}
    if quantised:
        built_in = Interpreter(flatbuffer, threads=1, origin=origin, delegates=False)
        networks[f"{network.runtime}, built-in kernels"] = built_in
    vectors = []
    spread = 0.0
    for seed, height, width in _MAP_VECTORS if network.output_is_map else _CLASSIFIER_VECTORS:
        outputs = np.stack([_outputs(one, picture(seed, height, width)) for one in networks.values()])
        spread = max(spread, float(outputs.std()))
        vectors.append({"seed": seed, "height": height, "width": width, "outputs": _numbers(outputs, network)})
    largest, mean = _limits(network, quantised, spread)
    return {
        "formula": FORMULA,
        "unit": STEPS if network.output_step else LOGITS,
        "tolerance": {"max": largest, "mean": mean},
        "kernels": list(networks),
        "vectors": vectors,
    }


def check(card: ModelCard, network: Interpreter, *, origin: str) -> None:
    """Let an interpreter prove that it computes a model as it was exported; a card without golden vectors asks nothing.

    Raises:
        ModelError: it computes something else, or the golden vectors are malformed.
    """
    for deviation in compare(card, network, origin=origin):
        if not deviation.within:
            raise ModelError(f"{origin}: {failure(deviation, network)}")


def compare(card: ModelCard, network: Interpreter, *, origin: str) -> list[Deviation]:
    """How far an interpreter is off at each golden vector of a card; empty where the card has none.

    Raises:
        ModelError: the golden vectors are malformed, or the network does not run.
    """
    if not card.golden:
        return []
    proof = _read(card.golden, network, origin)
    return [_deviation(proof, vector, network) for vector in proof.vectors]


def failure(deviation: Deviation, network: Interpreter) -> str:
    """In one line what an interpreter got wrong, and what to do."""
    threads = f"{network.threads} thread{'' if network.threads == 1 else 's'}"
    return (
        f"{network.runtime} on {threads} computes this model wrongly: its golden outputs of {deviation.width}x"
        f"{deviation.height} px are missed by up to {deviation.largest:.3g} {deviation.unit}, {deviation.mean:.3g} on "
        f"average (allowed {deviation.largest_allowed:g} and {deviation.mean_allowed:g}); "
        "upgrade the interpreter or install another (pip install -U ai-edge-litert), or copy the file again"
    )


def _outputs(network: Interpreter, image: Image) -> npt.NDArray[np.float64]:
    """(outputs,) what a network makes of an image, in steps of its output (from its zero point) where it has some."""
    network.resize(1, *image.shape[:2])
    network.pixel_writer()(image, network.input()[0])
    found = network.invoke().astype(np.float64).ravel()
    return np.rint(found / network.output_step) if network.output_step else found


def _numbers(outputs: npt.NDArray[np.float64], network: Interpreter) -> list[list[float]]:
    numbers: list[list[float]] = (outputs.astype(np.int64) if network.output_step else outputs.round(_DIGITS)).tolist()
    return numbers


def _limits(network: Interpreter, quantised: bool, spread: float) -> tuple[float, float]:
    """Largest and mean deviation that a correct interpreter may have."""
    if network.output_step:
        return _INT8_LIMITS if network.output_dtype.itemsize == 1 else _INT16_LIMITS
    if quantised:
        return max(_FLOAT_LIMIT, round(spread, 3)), max(_FLOAT_LIMIT, round(spread / 10, 3))
    return _FLOAT_LIMIT, _FLOAT_LIMIT


def _deviation(proof: _Proof, vector: _Vector, network: Interpreter) -> Deviation:
    found = _outputs(network, picture(vector.seed, vector.height, vector.width))
    if found.size != vector.outputs.shape[1]:
        raise ModelError(
            f"{network.runtime} gave {found.size} outputs for {vector.width}x{vector.height} px, expected "
            f"{vector.outputs.shape[1]}; upgrade the interpreter, or export the model again"
        )
    off = np.abs(vector.outputs - found)
    if proof.unit == LOGITS:
        off /= np.maximum(1, np.abs(vector.outputs))
    closest = int(off.mean(axis=1).argmin())
    return Deviation(
        height=vector.height,
        width=vector.width,
        kernels=proof.kernels[closest],
        largest=float(off[closest].max()),
        mean=float(off[closest].mean()),
        largest_allowed=proof.largest,
        mean_allowed=proof.mean,
        unit=proof.unit,
    )


def _read(golden: Mapping[str, Any], network: Interpreter, origin: str) -> _Proof:
    """The proof in a card, which may hold anything.

    Raises:
        ModelError: it is malformed, asks for too much, or has another formula.
    """
    formula = golden.get("formula")
    if formula != FORMULA:
        raise ModelError(
            f"{origin}: its golden vectors go by a formula that this crackedge does not know; upgrade crackedge"
        )
    try:
        kernels = tuple(str(one) for one in golden["kernels"])
        largest, mean = float(golden["tolerance"]["max"]), float(golden["tolerance"]["mean"])
        unit = STEPS if network.output_step else LOGITS
        _require(golden["unit"] == unit, f"unit {golden['unit']!r}, and the network's output is in {unit}")
        _require(0 <= largest < math.inf and 0 <= mean < math.inf, f"tolerance {largest:g}, {mean:g}")
        _require(1 <= len(kernels) <= _MOST_KERNELS, f"{len(kernels)} kernels, expected 1 to {_MOST_KERNELS}")
        listed = golden["vectors"]
        _require(1 <= len(listed) <= _MOST_VECTORS, f"{len(listed)} vectors, expected 1 to {_MOST_VECTORS}")
        vectors = tuple(_vector(one, len(kernels), network) for one in listed)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{origin}: its golden vectors are malformed ({reason}); export the model again") from error
    return _Proof(unit, largest, mean, kernels, vectors)


def _vector(raw: Mapping[str, Any], kernels: int, network: Interpreter) -> _Vector:
    seed, height, width = raw["seed"], raw["height"], raw["width"]
    _require(all(type(one) is int for one in (seed, height, width)), f"seed and size {seed!r}, {width!r}x{height!r}")
    _require(0 <= seed <= _LARGEST_SEED, f"seed {seed}, expected 0 to {_LARGEST_SEED}")
    fits = height >= CELL and width >= CELL and height % CELL == 0 and width % CELL == 0
    _require(fits and height * width <= _MOST_PIXELS, f"size {width}x{height} px")
    count = height // CELL * (width // CELL) if network.output_is_map else network.output_shape[-1]
    lengths = [len(one) for one in raw["outputs"]]
    _require(lengths == [count] * kernels, f"{lengths} outputs for {width}x{height} px, expected {[count] * kernels}")
    outputs = np.array(raw["outputs"], np.float64)
    _require(outputs.shape == (kernels, count) and bool(np.isfinite(outputs).all()), "outputs that are not numbers")
    return _Vector(seed, height, width, outputs)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
