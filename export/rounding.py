"""Rounding: kernels put onto int8's grid so that each rounding makes up for those before it.

A converter rounds every weight for itself. Here the weights of a kernel are rounded one after the other, and what one
rounding adds to the layer's output is taken back, as far as possible, by those that are not rounded yet; how they hang
together is read from what enters the layer on real pictures (Frantar et al., *GPTQ: Accurate Post-Training Quantization
for Generative Pre-trained Transformers*, ICLR 2023). The converter then finds kernels that are on its grid already.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.frame import Image

LEVELS = 127  # of int8, to each side of 0

_DAMPING = 0.01  # of the mean square of an input, added to each: what was seen on some pictures is not all there is
_POSITIONS = 256  # of a picture, where a layer's input is looked at
_PICTURES = 64  # at least, of those given, evenly
_BATCH = 4  # of them at once

Floats = npt.NDArray[np.float64]


@contextlib.contextmanager
def rounded(network: keras.Model, pictures: Sequence[Image]) -> Iterator[None]:
    """Inside the ``with`` block the network has kernels on int8's grid; after it, its own again.

    Convolutions and depthwise ones, at whatever depth; those in groups or dilated, and dense layers, stay as they are.
    A normalisation that is folded into a convolution scales its channels, each of which has its own grid; so it does
    not matter whether that happens before or after.

    Args:
        network: from (N, H, W, 3) pixels.
        pictures: (H, W, 3) uint8 RGB, all of one size that the network takes.
    """
    inputs = [_Inputs(layer) for layer in _convolutions(network)]
    with contextlib.ExitStack() as watched:
        for one in inputs:
            watched.enter_context(one)
        few = pictures[:: max(1, len(pictures) // _PICTURES)]
        for first in range(0, len(few), _BATCH):
            network(np.stack(few[first : first + _BATCH]).astype(np.float32), training=False)
    before = [one.layer.get_weights() for one in inputs]
    try:
        for one, weights in zip(inputs, before, strict=True):
            one.layer.set_weights([one.rounded(weights[0]), *weights[1:]])
        yield
    finally:
        for one, weights in zip(inputs, before, strict=True):
            one.layer.set_weights(weights)


def round_rows(rows: npt.NDArray[Any], moments: npt.NDArray[Any]) -> Floats:
    """Round the weights of each row to multiples of its largest magnitude / 127, with as little effect as possible.

    The largest stays as it is, so that the grid does.

    Args:
        rows: (R, K), one for each output channel.
        moments: (1, K, K) sums of products of the K inputs, or (R, K, K) where each row has inputs of its own.

    Returns:
        (R, K), on the grid.
    """
    moments = np.asarray(moments, np.float64)
    order = np.argsort(-np.diagonal(moments, axis1=-2, axis2=-1), axis=-1)  # what weighs most has most to take it back
    upper = _compensation(np.take_along_axis(np.take_along_axis(moments, order[:, None], 2), order[:, :, None], 1))
    order = np.broadcast_to(order, rows.shape)
    first = np.take_along_axis(np.asarray(rows, np.float64), order, 1)
    peak = np.abs(first).argmax(1)
    step = np.abs(first).max(1) / LEVELS
    step[step == 0] = 1
    left, on_grid = first.copy(), np.empty_like(first)
    for column in range(left.shape[1]):
        levels = np.clip(np.round(left[:, column] / step), -LEVELS, LEVELS)
        on_grid[:, column] = np.where(peak == column, first[:, column], levels * step)
        error = (left[:, column] - on_grid[:, column]) / upper[:, column, column]
        left[:, column + 1 :] -= error[:, None] * upper[:, column, column + 1 :]
    out = np.empty_like(on_grid)
    np.put_along_axis(out, order, on_grid, 1)
    return out


def _compensation(moments: Floats) -> Floats:
    """The upper Cholesky factor of the inverse: how later weights take back the errors of earlier ones."""
    inputs = moments.shape[-1]
    mean_square = np.trace(moments, axis1=-2, axis2=-1) / inputs
    mean_square[mean_square == 0] = 1
    damped = moments / mean_square[:, None, None] + _DAMPING * np.eye(inputs)
    return np.linalg.cholesky(np.linalg.inv(damped)).swapaxes(-1, -2)


def _convolutions(model: keras.Model) -> list[Any]:
    """Those that can be rounded, each once."""
    found: dict[Any, None] = {}  # a layer may stand in several places
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found |= dict.fromkeys(_convolutions(layer))
        plain = isinstance(layer, keras.layers.Conv2D) and layer.groups == 1
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D) and layer.depth_multiplier == 1
        if (plain or depthwise) and set(layer.dilation_rate) == {1}:
            found[layer] = None
    return list(found)


class _Inputs:
    """What enters a layer, at some positions of each picture, while the ``with`` block lasts.

    Attributes:
        layer: a convolution.
    """

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self._each = isinstance(layer, keras.layers.DepthwiseConv2D)  # channel has inputs of its own
        self._moments: Any = 0.0  # (K, K), or (C, K, K)
        self._rng = np.random.default_rng(0)

    def __enter__(self) -> None:
        call = self.layer.call

        def watched(inputs: Any) -> Any:
            self._look(keras.ops.convert_to_numpy(inputs))
            return call(inputs)

        self.layer.call = watched

    def __exit__(self, *_: object) -> None:
        del self.layer.call

    def rounded(self, kernel: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """A kernel of the layer's, laid out as Keras does."""
        rows = kernel.reshape(-1, kernel.shape[2 if self._each else 3]).T
        moments = self._moments if self._each else np.asarray(self._moments)[None]
        return np.asarray(round_rows(rows, moments).T.reshape(kernel.shape), np.float32)

    def _look(self, inputs: npt.NDArray[np.float32]) -> None:
        patches = self._patches(inputs)
        if self._each:  # (S, K, C)
            across = patches.transpose(2, 1, 0).copy()
            self._moments = self._moments + (across @ across.swapaxes(-1, -2)).astype(np.float64)
        else:
            flat = patches.reshape(len(patches), -1)
            self._moments = self._moments + (flat.T @ flat).astype(np.float64)

    def _patches(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(S, kernel's height times width, C): what the kernel covers at S positions."""
        (high, wide), (down, right) = self.layer.kernel_size, self.layer.strides
        if self.layer.padding == "same":
            sizes = zip(inputs.shape[1:3], (high, wide), (down, right), strict=True)
            inputs = np.pad(inputs, ((0, 0), *(_same(*one) for one in sizes), (0, 0)))
        count, height, width = inputs.shape[:3]
        ends = count, (height - high) // down + 1, (width - wide) // right + 1
        picture, row, column = self._rng.integers(0, ends, (_POSITIONS * count, 3)).T
        top, left = row * down, column * right
        taken = [inputs[picture, top + y, left + x] for y in range(high) for x in range(wide)]
        return np.stack(taken, 1)


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """What TensorFlow's "same" padding adds before and after."""
    added = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return added // 2, added - added // 2
