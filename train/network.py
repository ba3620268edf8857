"""Networks with a logit-map head: backbone, then one 1x1 convolution, and nothing after it.

Global average pooling and Dense(1) are linear, so the mean of a tile's 7x7 logits *is* the pooled head's logit; pooling
and sigmoid stay outside, and one network classifies tiles, scans whole frames, and says where the crack is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
from keras import ops

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.lattice import WINDOW_CELLS

LOGITS = "logit_map"  # name of the layer where the exported network ends


def build_network(*, alpha: float, weights: str | Path | None, tile: int = 224) -> keras.Model:
    """MobileNetV2 with the logit-map head.

    Args:
        alpha: width of the backbone.
        weights: ``"imagenet"``, a file of backbone weights, the ``model.keras`` of an earlier run, or None for none.
        tile: edge in pixels that the weights were made for; the network itself takes any multiple of 32.

    Returns:
        A model from (N, H, W, 3) float32 in [0, 255] to (N, H/32, W/32, 1) float32 logits.

    Raises:
        OptionError: the weights are missing or of another network.
    """
    if weights not in (None, "imagenet") and not Path(str(weights)).is_file():
        raise OptionError(f"weights {weights}: no such file; give a file, 'imagenet' or 'none'")
    if Path(str(weights)).suffix == ".keras":
        return _earlier(Path(str(weights)), alpha=alpha)
    pixels = keras.Input((None, None, 3), name="pixels")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1, name="scale")(pixels)
    try:
        backbone = keras.applications.MobileNetV2(
            include_top=False,
            alpha=alpha,
            input_shape=(tile, tile, 3),
            weights=str(weights) if weights is not None else None,
        )
    except ValueError as error:
        raise OptionError(f"weights {weights}: not those of MobileNetV2 with alpha {alpha} ({error})") from error
    except Exception as error:
        if weights == "imagenet":
            raise OptionError(f"weights 'imagenet' could not be downloaded ({error}); give a file or 'none'") from error
        raise
    # The same layers on an input of any size: the weights do not depend on it.
    open_sized = keras.applications.MobileNetV2(
        include_top=False, alpha=alpha, input_shape=(None, None, 3), weights=None, name="backbone"
    )
    open_sized.set_weights(backbone.get_weights())
    features = open_sized(scaled)
    logits = keras.layers.Conv2D(1, 1, dtype="float32", name=LOGITS)(features)
    return keras.Model(pixels, logits, name=_name(alpha))


def _earlier(path: Path, *, alpha: float) -> keras.Model:
    try:
        network = keras.models.load_model(path, compile=False)
    except (ValueError, OSError, TypeError, KeyError) as error:
        raise OptionError(f"weights {path}: Keras cannot read it ({' '.join(str(error).split())[:200]})") from error
    if network.name != _name(alpha):
        raise OptionError(f"weights {path}: a network {network.name!r}, and the recipe asks for {_name(alpha)!r}")
    return network


def _name(alpha: float) -> str:
    return f"mobilenetv2_{alpha:g}"


@keras.saving.register_keras_serializable("crackedge")
class Calibration(keras.layers.Layer):  # type: ignore[misc]
    """Two affine readings of the logit map, learnt with it: channel 0 for windows, channel 1 for single cells.

    One logit is distributed differently from the mean of 49, so each has its own scale and bias. Only training uses
    this layer; what is exported ends before it, and its calibration is fitted anew on validation photographs.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Two log-scales and two biases."""
        del input_shape
        self.log_scale = self.add_weight(shape=(2,), initializer="zeros", name="log_scale")
        self.bias = self.add_weight(shape=(2,), initializer="zeros", name="bias")

    def call(self, logits: Any) -> Any:
        """(N, h, w, 1) logits to (N, h, w, 2)."""
        return logits * ops.exp(self.log_scale) + self.bias


def training_model(network: keras.Model) -> keras.Model:
    """The network with its learnt calibration on top, for :class:`MapLoss`."""
    return keras.Model(network.input, Calibration(name="calibration")(network.output), name="training")


def window_means(logits: Any) -> Any:
    """(N, h, w, c) to the means of all 7x7 windows, (N, h - 6, w - 6, c)."""
    return ops.average_pool(logits, WINDOW_CELLS, strides=1, padding="valid")


@keras.saving.register_keras_serializable("crackedge")
class MapLoss(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy of windows (means of 49 logits) and of single cells, each with its weight.

    Targets are (N, h, w, 4): probability and weight of the window that starts at a cell, then of the cell itself;
    see :func:`crackedge.train.canvas.targets`.
    """

    def __init__(self, cell_share: float = 0.3, name: str = "map_loss", **kwargs: Any) -> None:
        super().__init__(name=name, reduction="sum_over_batch_size", **kwargs)
        self.cell_share = cell_share

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(N,) loss of each canvas."""
        reach = -(WINDOW_CELLS - 1)
        windows = _cross_entropy(window_means(y_pred[..., :1])[..., 0], y_true[:, :reach, :reach, 0])
        cells = _cross_entropy(y_pred[..., 1], y_true[..., 2])
        window_loss = ops.sum(windows * y_true[:, :reach, :reach, 1], axis=(1, 2))
        cell_loss = ops.sum(cells * y_true[..., 3], axis=(1, 2))
        return window_loss + self.cell_share * cell_loss

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes."""
        return {**super().get_config(), "cell_share": self.cell_share}


def _cross_entropy(logits: Any, target: Any) -> Any:
    return ops.softplus(logits) - target * logits


def unfreeze(network: keras.Model, *, train_from: str, batch_norm: str) -> None:
    """Let the backbone learn.

    Frozen batch normalisation makes training see the very function that is exported, whatever mosaics and synthetic
    surfaces do to the statistics, and doubles its speed on a CPU; it needs a smaller learning rate.

    Args:
        network: of :func:`build_network`.
        train_from: prefix of the first layer that learns, such as ``"block_3"``; empty for all of them.
        batch_norm: ``"train"``, or ``"frozen"`` for normalisation as pretrained.

    Raises:
        OptionError: the backbone has no such layer.
    """
    backbone = network.get_layer("backbone")
    backbone.trainable = True
    names = [layer.name for layer in backbone.layers]
    first = next((number for number, name in enumerate(names) if name.startswith(train_from)), None)
    if first is None:
        raise OptionError(
            f"train_from {train_from!r}: the backbone has no such block; its layers are {', '.join(names)}"
        )
    for number, layer in enumerate(backbone.layers):
        frozen_norm = batch_norm == "frozen" and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = number >= first and not frozen_norm
