"""Batch normalisation that learns: its statistics, taken anew of the weights as they are.

While a network learns, each layer's moving averages trail behind its weights, by hundreds of steps with Keras' momentum
of 0.99, and they know nothing of an average of the weights. Validated with such statistics, a network from scratch says
the same of every photograph (Wu & Johnson, *Rethinking "Batch" in BatchNorm*, 2021).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras


def take_statistics(network: keras.Model, batches: Iterable[Any]) -> None:
    """Replace the moving averages of all normalisation that learns by the mean over some batches.

    Args:
        network: of :func:`crackedge.train.network.build_network`.
        batches: (B, S, S, 3) float32 pixels each, as in training; not looked at where no normalisation learns.
    """
    layers = [
        layer
        for layer in network.get_layer("backbone").layers
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    try:
        for number, pixels in enumerate(batches):
            for layer in layers:
                layer.momentum = number / (number + 1)  # each batch then has one voice
            network(pixels, training=True)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
