"""int8 that decides as floats do: rounding in turn, measure after measure, and which layers lose most.

The layers' errors come from TensorFlow's QuantizationDebugger: what an operation of the int8 file makes of its inputs,
beside what the float operation would make of the very same ones.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from tensorflow.lite.python.util import modify_model_io_type

from crackedge.edge_runtime.errors import ProofError
from crackedge.edge_runtime.frame import Image
from crackedge.export.convert import Log, as_input, attempt, convert, front_of, int8_converter
from crackedge.export.parity import Judged
from crackedge.export.rounding import rounded

PICTURES = (240, 480)  # from which the ranges of activations are read; the second number where the first does not do
FLOAT_LAYERS = (6, 12)  # how many of the worst layers stay in floats, where more pictures do not do either
NAMED_LAYERS = 5  # the worst, in the card

_LOOKED_AT = 8  # pictures; each layer has some 100,000 values in one


@dataclass(frozen=True, slots=True)
class LayerError:
    """What one operation, fed with exactly what it is fed in the int8 file, gets wrong.

    Attributes:
        layer: its name, without the path to it.
        operation: what it is, ``"CONV_2D"``.
        rms: root mean square of the error of its output.
        steps: the same in steps of its output; rounding alone gives 0.29.
        tensor: its output's full name, by which the converter knows it.
    """

    layer: str
    operation: str
    rms: float
    steps: float
    tensor: str

    def as_dict(self) -> dict[str, Any]:
        """Rounded, for the card."""
        return {
            "layer": self.layer,
            "operation": self.operation,
            "rms": float(f"{self.rms:.3g}"),
            "steps": round(self.steps, 3),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """An int8 file and how it came about.

    Attributes:
        judged: the last that was made.
        measures: what was done, one after the other, each with the faults that it left.
        worst_layers: those that lose most.
        wanted: how many pictures were asked for, of those that its ranges were read from.
    """

    judged: Judged
    measures: tuple[dict[str, Any], ...]
    worst_layers: tuple[LayerError, ...]
    wanted: int


def quantise(
    network: keras.Model,
    *,
    head: str,
    pictures: Callable[[int], Sequence[Image]],
    judge: Callable[[bytes], Judged],
    log: Log,
) -> Quantised:
    """Round the kernels, convert to int8, and take the next measure while there are faults: more pictures, then floats.

    Args:
        network: see :func:`crackedge.export.convert.convert`.
        head: ``"logit-map"`` or ``"probability"``.
        pictures: gives about so many (H, W, 3) uint8 RGB, all of one size.
        judge: holds a flatbuffer against the float32 file.
        log: is given what the converter said.

    Raises:
        ProofError: the converter gave up, or judged so.
    """
    measures: list[dict[str, Any]] = []

    def judged_after(measure: str, flatbuffer: bytes) -> Judged:
        judged = judge(flatbuffer)
        measures.append({"measure": measure, "faults": judged.faults})
        return judged

    wanted, more = PICTURES
    chosen = pictures(wanted)
    with rounded(network, chosen):
        made = convert(network, variant="int8", head=head, pictures=chosen, log=log)
        judged = judged_after(f"{len(chosen)} calibration pictures", made)
        if judged.faults and len(pictures(more)) > len(chosen):
            wanted, chosen = more, pictures(more)
            made = convert(network, variant="int8", head=head, pictures=chosen, log=log)
            judged = judged_after(f"{len(chosen)} calibration pictures", made)
        layers = Int8Layers(network, head=head, pictures=chosen if judged.faults else chosen[::4], log=log)
        worst = layers.errors()
        for count in FLOAT_LAYERS:
            if judged.faults and count < len(worst):
                measure = f"the {count} worst layers in floats"
                try:
                    judged = judged_after(measure, layers.in_floats(worst[:count]))
                except ProofError as error:  # the first layer among them: what is behind the input must be quantised
                    measures.append({"measure": measure, "faults": [str(error)]})
    return Quantised(judged, tuple(measures), tuple(worst[:NAMED_LAYERS]), wanted)


class Int8Layers:
    """An int8 conversion, calibrated once, that can be looked into and done again with some layers in floats.

    Args:
        network: see :func:`crackedge.export.convert.convert`.
        head: ``"logit-map"`` or ``"probability"``.
        pictures: (H, W, 3) uint8 RGB, all of one size.
        log: is given what the converter said.

    Raises:
        ProofError: the converter gave up.
    """

    def __init__(self, network: keras.Model, *, head: str, pictures: Sequence[Image], log: Log) -> None:
        front = front_of(network, variant="int8", head=head)
        self._log = log

        def start() -> Any:
            debugger = tf.lite.experimental.QuantizationDebugger(
                converter=int8_converter(network, head, pictures),
                debug_dataset=lambda: as_input(pictures[:: max(1, len(pictures) // _LOOKED_AT)], front),
            )
            debugger.run()
            return debugger

        self._debugger = attempt("int8", start, log)

    def errors(self) -> list[LayerError]:
        """Every layer's error, the worst first."""
        table = io.StringIO()
        self._debugger.layer_statistics_dump(table)
        table.seek(0)
        found = []
        for row in csv.DictReader(table):
            rms = float(row["mean_squared_error"]) ** 0.5
            name = row["tensor_name"]
            found.append(LayerError(_short(name), row["op_name"], rms, rms / float(row["scale"]), name))
        return sorted(found, key=lambda layer: -layer.steps)

    def in_floats(self, layers: Sequence[LayerError]) -> bytes:
        """The flatbuffer in which these layers are not quantised.

        Raises:
            ProofError: the converter gave up.
        """

        def make() -> bytes:
            self._debugger.options = tf.lite.experimental.QuantizationDebugOptions(
                denylisted_nodes=[layer.tensor for layer in layers]
            )
            return bytes(modify_model_io_type(self._debugger.get_nondebug_quantized_model(), tf.uint8, tf.int8))

        return attempt(f"int8 with {len(layers)} layers in floats", make, self._log)


def _short(tensor: str) -> str:
    """``block_1_expand_relu`` of ``model/backbone_1/block_1_expand_relu_1/Relu6;…``."""
    parts = tensor.split(";", maxsplit=1)[0].split("/")
    return parts[-2] if len(parts) > 1 else parts[0]
