"""Networks with a logit-map head: backbone, then one 1x1 convolution, and nothing after it.

Global average pooling and Dense(1) are linear, so the mean of a tile's 7x7 logits *is* the pooled head's logit; pooling
and sigmoid stay outside, and one network classifies tiles, scans whole frames, and says where the crack is.
"""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.lattice import WINDOW_CELLS
from crackedge.edge_runtime.models.model import shipped_models
from crackedge.train.backbones import BACKBONES
from crackedge.train.folded import card_reading, load_folded
from crackedge.train.lineage import WHOLE_NETWORKS
from crackedge.train.recipe import Recipe

LOGITS = "logit_map"  # name of the layer where the exported network ends
# Of ImageNet, as Caffe's networks were trained with, and as those of TensorFlow were.
_CAFFE_MEANS_BGR = np.array([103.939, 116.779, 123.68])
_MEANS_RGB = 255 * np.array([0.485, 0.456, 0.406])
_DEVIATIONS_RGB = 255 * np.array([0.229, 0.224, 0.225])


def build_network(recipe: Recipe, *, weights: str | Path | None) -> keras.Model:
    """The recipe's backbone with the logit-map head.

    All that turns pixels into what the backbone takes is one layer, ``"scale"``.

    Args:
        recipe: names the backbone, its width and its preprocessing.
        weights: ``"imagenet"``, a file of backbone weights, the ``model.keras`` of an earlier run, a ``.tflite`` logit
            map, or None for none.

    Returns:
        A model from (N, H, W, 3) float32 in [0, 255] to (N, H/32, W/32, 1) float32 logits.

    Raises:
        ModelError: a ``.tflite`` file is damaged, or cannot be run here.
        OptionError: the weights are missing or of another network, or the backbone has no block ``train_from``.
    """
    if weights not in (None, "imagenet") and not Path(str(weights)).is_file():
        names = ", ".join(map(repr, ("imagenet", "none", *shipped_models())))
        raise OptionError(f"weights {weights}: no such file; give a file, or one of {names}")
    whole = Path(str(weights)).suffix in WHOLE_NETWORKS
    pixels = keras.Input((None, None, 3), name="pixels")
    features = _backbone(recipe, None if whole else weights)(_scaled(pixels, recipe))
    logits = keras.layers.Conv2D(1, 1, dtype="float32", name=LOGITS)(features)
    network = keras.Model(pixels, logits, name=_name(recipe))
    if whole and (file := Path(str(weights))).suffix == ".keras":
        network.set_weights(_earlier(file, name=network.name).get_weights())
    elif whole:
        load_folded(network, recipe, file)
    _first_to_learn(network.get_layer("backbone"), recipe.train_from)  # now, not hours later
    return network


def _backbone(recipe: Recipe, weights: str | Path | None) -> keras.Model:
    kind = BACKBONES[recipe.backbone]
    options = {**kind.options, "alpha": recipe.alpha} if kind.has_alpha else dict(kind.options)
    try:
        with warnings.catch_warnings(action="ignore"):  # that weights made for 224 pixels go into an input of any size
            backbone = getattr(keras.applications, kind.application)(
                include_top=False,
                input_shape=(None, None, 3),
                weights=str(weights) if weights is not None else None,
                name="backbone",
                **options,
            )
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        if weights == "imagenet" and not isinstance(error, ValueError):
            raise OptionError(f"weights 'imagenet' cannot be downloaded ({reason}); give a file or 'none'") from error
        raise OptionError(f"weights {weights}: not those of {_name(recipe)} ({reason})") from error
    if not kind.begins_at:
        return backbone
    return keras.Model(backbone.get_layer(kind.begins_at).input, backbone.output, name="backbone")


def _scaled(pixels: Any, recipe: Recipe) -> Any:
    """The pixels as the backbone takes them; in float32, whatever the precision of what follows."""
    expected = "unit" if recipe.preprocessing == "unit" else BACKBONES[recipe.backbone].pixels
    if expected == "unit":
        return keras.layers.Rescaling(1 / 255, dtype="float32", name="scale")(pixels)
    if expected == "signed":
        return keras.layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="scale")(pixels)
    if expected == "caffe":
        kernel, bias = np.eye(3)[:, ::-1], -_CAFFE_MEANS_BGR
    else:
        kernel, bias = np.diag(1 / _DEVIATIONS_RGB), -_MEANS_RGB / _DEVIATIONS_RGB
    mixing = keras.layers.Conv2D(3, 1, trainable=False, dtype="float32", name="scale")
    scaled = mixing(pixels)
    mixing.set_weights([kernel[None, None], bias])
    return scaled


def _earlier(path: Path, *, name: str) -> keras.Model:
    network = read_network(path, role="weights")
    if network.name != name:
        raise OptionError(f"weights {path}: a network {network.name!r}, and the recipe asks for {name!r}")
    return network


def read_network(path: Path, *, role: str) -> keras.Model:
    """A network as ``crackedge train`` wrote it.

    Args:
        path: the ``.keras`` file.
        role: what it is wanted for, as the error calls it.

    Raises:
        OptionError: it is missing, or Keras cannot read it.
    """
    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, OSError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise OptionError(f"{role} {path}: Keras cannot read it ({' '.join(str(error).split())[:200]})") from error


def _name(recipe: Recipe) -> str:
    width = f"_{recipe.alpha:g}" if BACKBONES[recipe.backbone].has_alpha else ""
    return f"{recipe.backbone}{width}{'_unit' if recipe.preprocessing == 'unit' else ''}"


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


def training_model(network: keras.Model, *, weights: str | Path | None = None, teacher: str | Path = "") -> keras.Model:
    """The network with its learnt calibration on top, for :class:`MapLoss`.

    Args:
        network: of :func:`build_network`.
        weights: that it was built with; the card of a ``.tflite`` file says where the calibration begins.
        teacher: the ``model.keras`` of an earlier run, of any backbone, to learn from; empty for none. It looks at the
            same canvases, and does not learn.

    Returns:
        A model from pixels to (N, h, w, 2), or with a teacher to (N, h, w, 3), its logits last.

    Raises:
        OptionError: the teacher is missing, or not such a network.
    """
    calibration = Calibration(name="calibration")
    read = calibration(network.output)
    if Path(str(weights)).suffix == ".tflite":
        known = card_reading(Path(str(weights)))
        calibration.set_weights([np.log([known.scale, known.cell_scale]), np.array([known.bias, known.cell_bias])])
    if teacher:
        read = keras.layers.Concatenate(name="beside")([read, _teacher(Path(teacher))(network.input, training=False)])
    return keras.Model(network.input, read, name="training")


def _teacher(path: Path) -> keras.Model:
    if not path.is_file():
        raise OptionError(f"teacher {path}: no such file; give the model.keras of a training run")
    network = read_network(path, role="teacher")
    if network.layers[-1].name != LOGITS:
        raise OptionError(f"teacher {path}: it does not end in a logit map; give the model.keras of a training run")
    network.trainable = False
    network.name = "teacher"
    return network


def window_means(logits: Any) -> Any:
    """(N, h, w, c) to the means of all 7x7 windows, (N, h - 6, w - 6, c)."""
    return ops.average_pool(logits, WINDOW_CELLS, strides=1, padding="valid")


@keras.saving.register_keras_serializable("crackedge")
class MapLoss(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy of windows (means of 49 logits) and of single cells, each with its weight.

    Targets are (N, h, w, 4): probability and weight of the window that starts at a cell, then of the cell itself;
    see :func:`crackedge.train.canvas.targets`. Where a teacher's logits come with the predictions, ``teacher_share`` of
    the windows' loss is the cross-entropy with what the teacher thinks, of all windows alike, whether or not they have
    a label (Hinton et al., *Distilling the Knowledge in a Neural Network*, 2015).
    """

    def __init__(
        self, cell_share: float = 0.3, teacher_share: float = 0.0, name: str = "map_loss", **kwargs: Any
    ) -> None:
        super().__init__(name=name, reduction="sum_over_batch_size", **kwargs)
        self.cell_share, self.teacher_share = cell_share, teacher_share

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(N,) loss of each canvas."""
        reach = -(WINDOW_CELLS - 1)
        logits = window_means(y_pred[..., :1])[..., 0]
        windows = _cross_entropy(logits, y_true[:, :reach, :reach, 0])
        window_loss = ops.sum(windows * y_true[:, :reach, :reach, 1], axis=(1, 2))
        if y_pred.shape[-1] == 3:
            opinion = ops.stop_gradient(ops.sigmoid(window_means(y_pred[..., 2:])[..., 0]))
            taught = ops.mean(_cross_entropy(logits, opinion), axis=(1, 2))
            window_loss = (1 - self.teacher_share) * window_loss + self.teacher_share * taught
        cells = _cross_entropy(y_pred[..., 1], y_true[..., 2])
        cell_loss = ops.sum(cells * y_true[..., 3], axis=(1, 2))
        return window_loss + self.cell_share * cell_loss

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes."""
        return {**super().get_config(), "cell_share": self.cell_share, "teacher_share": self.teacher_share}


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
    first = _first_to_learn(backbone, train_from)
    for number, layer in enumerate(backbone.layers):
        frozen_norm = batch_norm == "frozen" and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = number >= first and not frozen_norm


def _first_to_learn(backbone: keras.Model, train_from: str) -> int:
    names = [layer.name for layer in backbone.layers]
    first = next((number for number, name in enumerate(names) if name.startswith(train_from)), None)
    if first is None:
        raise OptionError(
            f"train_from {train_from!r}: the backbone has no such block; its layers are {', '.join(names)}"
        )
    return first
