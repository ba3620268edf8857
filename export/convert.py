"""A Keras network becomes a TFLite flatbuffer of any input size, by TensorFlow's own converter."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from crackedge.edge_runtime.errors import OptionError, ProofError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.lattice import TILE
from crackedge.edge_runtime.native_log import captured

VARIANTS = ("int8", "float32")


def convert(network: keras.Model, *, variant: str, calibration: Callable[[], Iterator[Image]]) -> bytes:
    """The flatbuffer of a network, by the model contract: uint8 RGB in, logits out, any multiple of 32.

    Args:
        network: from (N, H, W, 3) in [0, 255] to (N, H/32, W/32, 1) logits; its first layer scales to [-1, 1].
        variant: ``"int8"`` (int8 output; the input's own quantisation does the scaling) or ``"float32"``.
        calibration: gives the (H, W, 3) uint8 RGB pictures from which the ranges of activations are read.

    Raises:
        OptionError: no such variant.
        ProofError: the converter gave up.
    """
    if variant not in VARIANTS:
        raise OptionError(f"variant {variant!r}: expected one of {', '.join(VARIANTS)}")
    make = _int8 if variant == "int8" else _float32
    try:
        with captured(), warnings.catch_warnings(action="ignore"):  # the converter's chatter
            return make(network, calibration)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise ProofError(f"{variant}: the converter failed ({' '.join(str(error).split())[:300]})") from error


def _float32(network: keras.Model, calibration: Callable[[], Iterator[Image]]) -> bytes:
    del calibration

    return bytes(_converter(lambda image: network(tf.cast(image, tf.float32), training=False), tf.uint8).convert())


def _int8(network: keras.Model, calibration: Callable[[], Iterator[Image]]) -> bytes:
    after_scaling = _without_scaling(network)

    def representative() -> Iterator[list[np.ndarray[Any, Any]]]:
        for image in calibration():
            scaled = image[None].astype(np.float32) / 127.5 - 1
            scaled[0, 0, 0, :], scaled[0, 0, 1, :] = -1, 1  # so that the input's range is exactly that of a byte
            yield [scaled]

    converter = _converter(lambda scaled: after_scaling(scaled, training=False), tf.float32)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def _converter(logit_map: Callable[[Any], Any], dtype: Any) -> Any:
    """A converter of a function of one tile, its variables frozen to constants."""
    signature = [tf.TensorSpec((1, TILE, TILE, 3), dtype, "image")]
    frozen = convert_variables_to_constants_v2(
        tf.function(logit_map, input_signature=signature).get_concrete_function()
    )
    return tf.lite.TFLiteConverter.from_concrete_functions([frozen])


def _without_scaling(network: keras.Model) -> keras.Model:
    """The network behind its scaling layer, taking pixels in [-1, 1]."""
    scale = network.get_layer("scale")
    if not np.allclose([scale.scale, scale.offset], [1 / 127.5, -1]):
        raise ProofError(f"scaling {scale.scale} {scale.offset:+}: an int8 file's input can only do x / 127.5 - 1")
    pixels = keras.Input((None, None, 3), name="scaled")
    outputs = pixels
    for layer in network.layers[network.layers.index(scale) + 1 :]:
        outputs = layer(outputs)
    return keras.Model(pixels, outputs)
