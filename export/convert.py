"""A Keras network becomes a TFLite flatbuffer, by TensorFlow's own converter.

Five variants: ``int8`` (weights per channel, and activations), ``float32``, ``float16`` (weights), ``dynamic`` (int8
weights, activations quantised as they come) and ``int16x8`` (int8 weights, int16 activations).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import ConverterError
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from crackedge.edge_runtime.errors import ProofError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.lattice import TILE
from crackedge.edge_runtime.native_log import captured

VARIANTS = ("int8", "float32", "float16", "dynamic", "int16x8")
QUANTISED = ("int8", "int16x8")  # from calibration pictures

Log = Callable[[str], None]
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Front:
    """How pixels enter a file.

    Attributes:
        dtype: of the input tensor.
        black: what a pixel of 0 is to the network behind the input.
        white: what a pixel of 255 is to it.
        scale: what one step of the input tensor stands for; 0 where it is not quantised.
    """

    dtype: str
    black: float = 0.0
    white: float = 255.0
    scale: float = 0.0

    @property
    def zero_point(self) -> int:
        """Which step of the input tensor stands for 0."""
        return round(-self.black / self.scale) if self.scale else 0


def front_of(network: keras.Model, *, variant: str, head: str) -> Front:
    """How pixels enter the file of a network.

    An int8 input does the scaling to [-1, 1] where that is what the network begins with; any other preprocessing
    stays in the graph, behind an input that holds the pixels as they are. int16 inputs have no bytes. Floats enter only
    the conventional classifier, for other runtimes; a logit map takes bytes.
    """
    if variant == "int16x8":
        return Front("int16", scale=255 / 32767)
    if variant == "int8":
        return Front("uint8", -1.0, 1.0, 1 / 127.5) if _scales_to_one(network) else Front("uint8", scale=1.0)
    return Front("float32" if head == "probability" else "uint8")


def with_probability(network: keras.Model) -> keras.Model:
    """A logit map's conventional form: (N, 224, 224, 3) pixels to (N, 1) probability of crack."""
    pixels = keras.Input((TILE, TILE, 3), name="pixels")
    logits = keras.layers.GlobalAveragePooling2D(name="logit")(network(pixels))
    return keras.Model(pixels, keras.layers.Activation("sigmoid", name="probability")(logits), name=network.name)


def convert(network: keras.Model, *, variant: str, head: str, pictures: Sequence[Image], log: Log) -> bytes:
    """The flatbuffer of a network.

    Args:
        network: from (N, H, W, 3) in [0, 255] to the (N, H/32, W/32, 1) logit map or the (N, 1) probability.
        variant: one of :data:`VARIANTS`.
        head: ``"logit-map"`` or ``"probability"``.
        pictures: (H, W, 3) uint8 RGB, all of one size, from which the ranges of activations are read.
        log: is given what the converter said.

    Raises:
        ProofError: the converter gave up, or the network needs operations that TFLite does not have.
    """
    if variant == "int8":
        return attempt("int8", lambda: bytes(int8_converter(network, head, pictures).convert()), log)
    front = front_of(network, variant=variant, head=head)

    def make() -> bytes:
        if variant == "int16x8":
            converter = _converter(network, tf.float32)
            converter.representative_dataset = lambda: as_input(pictures, front)
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            ]
            converter.inference_input_type = converter.inference_output_type = tf.int16
        else:
            converter = _converter(network, tf.as_dtype(front.dtype))
        if variant != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if variant == "float16":
            converter.target_spec.supported_types = [tf.float16]
        return bytes(converter.convert())

    return attempt(variant, make, log)


def int8_converter(network: keras.Model, head: str, pictures: Sequence[Image]) -> Any:
    """A converter to int8, not run yet."""
    front = front_of(network, variant="int8", head=head)
    behind = network if front.black == 0 else keras.Model(network.get_layer("scale").output, network.output)
    converter = _converter(behind, tf.float32)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: as_input(pictures, front)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.int8
    return converter


def as_input(pictures: Sequence[Image], front: Front) -> Iterator[list[np.ndarray[Any, Any]]]:
    """Pictures as the converter's quantiser wants them, with black and white in each: the range of a byte."""
    for picture in pictures:
        values = picture[None].astype(np.float32) * ((front.white - front.black) / 255) + front.black
        values[0, 0, 0, :], values[0, 0, 1, :] = front.black, front.white
        yield [values]


def attempt(what: str, make: Callable[[], _Made], log: Log) -> _Made:
    """Run a conversion with its chatter going to the log.

    Raises:
        ProofError: it failed; one line says why.
    """
    said: list[str] = []
    try:
        with captured() as said, warnings.catch_warnings(action="ignore"):
            return make()
    except (ConverterError, ValueError, RuntimeError, TypeError, tf.errors.OpError) as error:
        said.append(str(error))
        raise ProofError(f"{what}: {_why(str(error))}") from error
    finally:
        log("".join(said))


def _converter(network: keras.Model, dtype: Any) -> Any:
    """A converter of a network of one tile, its variables frozen to constants."""
    signature = [tf.TensorSpec((1, TILE, TILE, 3), dtype, "image")]
    frozen = convert_variables_to_constants_v2(
        tf.function(
            lambda image: network(tf.cast(image, tf.float32), training=False), input_signature=signature
        ).get_concrete_function()
    )
    return tf.lite.TFLiteConverter.from_concrete_functions([frozen])


def _scales_to_one(network: keras.Model) -> bool:
    """Whether the network begins with x / 127.5 - 1."""
    first = next((layer for layer in network.layers if not isinstance(layer, keras.layers.InputLayer)), None)
    return (
        isinstance(first, keras.layers.Rescaling)
        and first.name == "scale"
        and np.allclose([first.scale, first.offset], [1 / 127.5, -1])
    )


def _why(message: str) -> str:
    """One line of what the converter said over hundreds."""
    foreign = sorted(set(re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", message)))
    if foreign:
        return f"the network needs {', '.join(foreign)}, which TFLite does not have; replace that layer and train again"
    return f"the converter failed ({' '.join(message.split())[:300]})"
