"""The weights inside a ``.tflite`` logit map, put back into the Keras network that it was exported from.

An export folds each batch normalisation into the convolution before it, and may quantise the result. Here the kernels
are read from the file's constants, dequantised, and the normalisations are made to scale and to add the folded bias and
nothing else: mean 0, variance 1 - epsilon, beta the bias. What is lost is rounding, and the statistics themselves; so
they must stay frozen while such a network learns.

Of each channel, the kernel's magnitude goes into gamma. An optimizer like Adam makes steps of one size for all weights;
as folded, the kernels of one network are of sizes from nothing to 10, and would learn at as many rates.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.lattice import TILE
from crackedge.edge_runtime.models.card import Calibration, ModelCard, split_card
from crackedge.edge_runtime.models.golden import picture
from crackedge.edge_runtime.models.interpreter import Interpreter, find_runtime
from crackedge.edge_runtime.models.model import read_model
from crackedge.edge_runtime.native_log import captured
from crackedge.train.backbones import BACKBONES
from crackedge.train.recipe import Recipe

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_PICTURES = 4
# Root mean square of the difference, as a share of the logits' spread: 0.09 for nano and 0.11 for base, whose int8
# activations round; 0.30 and 0.35 when the pixels are scaled otherwise.
_LARGEST_DIFFERENCE = 0.25

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """A convolution of a file, its batch normalisation folded into it.

    Attributes:
        kernel: (h, w, in, out) float32, of a depthwise one (h, w, out, 1): as Keras lays them out.
        bias: (out,) float32.
    """

    kernel: Floats
    bias: Floats


def load_folded(network: keras.Model, recipe: Recipe, path: Path) -> None:
    """Give a network the weights of a ``.tflite`` file, and hold it against that file on a few pictures.

    Args:
        network: of :func:`crackedge.train.network.build_network`, without weights, head included.
        recipe: that it was built by.
        path: a logit map of the same backbone, int8 or float, with or without a card.

    Raises:
        ModelError: the file is missing, damaged, or cannot be run here.
        OptionError: it is no logit map, of another network, or of one that such weights cannot be put into; or the
            recipe lets batch normalisation learn.
    """
    origin = f"weights {path}"
    if not BACKBONES[recipe.backbone].is_chain:
        fitting = " and ".join(name for name, backbone in BACKBONES.items() if backbone.is_chain)
        raise OptionError(
            f"{origin}: backbone = {recipe.backbone!r}: the weights of a .tflite file can be put back into {fitting} "
            "only; give the model.keras of the training run"
        )
    if recipe.batch_norm != "frozen":
        raise OptionError(
            f"{origin}: batch_norm = {recipe.batch_norm!r}: a .tflite file has the statistics of batch normalisation "
            "folded into its convolutions, nothing is left to go on from; expected batch_norm = 'frozen'"
        )
    flatbuffer, card = split_card(read_model(path)[1], origin=str(path))
    file = Interpreter(flatbuffer, threads=1, origin=str(path))
    if not file.output_is_map or file.output_shape[3] != 1:
        raise OptionError(
            f"{origin}: gives {file.output_shape}, not a logit map; give a file that `crackedge export` made without "
            "--head probability"
        )
    found = read_convolutions(flatbuffer)
    layers = list(_layers(network))
    _require_fit(found, layers, network.name, card, origin)
    for one, (convolution, normalisation) in zip(found, layers, strict=True):
        if normalisation is None:
            convolution.set_weights([one.kernel, one.bias])
            continue
        channels = one.kernel.reshape(-1, one.bias.size)  # whichever of the two layouts
        gamma = np.sqrt(2 * (channels**2).sum(0))  # leaves 1 / sqrt(2 fan-in), about as ImageNet's weights are
        gamma[gamma == 0] = 1
        ones = np.ones_like(gamma)
        convolution.set_weights([(channels / gamma).reshape(one.kernel.shape)])
        normalisation.set_weights([gamma, one.bias, 0 * ones, (1 - normalisation.epsilon) * ones])
    difference = _difference(network, file)
    if not difference <= _LARGEST_DIFFERENCE:
        raise OptionError(
            f"{origin}: its weights fit {network.name}, but compute something else there (logits differ by "
            f"{difference:.2f} of their spread, expected at most {_LARGEST_DIFFERENCE}); give the recipe that it was "
            "trained by, preprocessing too, or the model.keras of that run"
        )


def card_reading(path: Path) -> Calibration:
    """How a file's card reads its logits on a frame; as they are where it has no card.

    Raises:
        ModelError: the file is missing or damaged.
    """
    return (split_card(read_model(path)[1], origin=str(path))[1] or ModelCard("")).engine_calibration("dense")


def read_convolutions(flatbuffer: bytes) -> list[Convolution]:
    """The convolutions of a file, in the order of running; without those that have no bias, since folding leaves one.

    Args:
        flatbuffer: int8, float32, float16, dynamic range or int16 activations; without a card.
    """
    with captured():  # which delegate was made
        raw = find_runtime().start(flatbuffer, threads=1, delegates=False)
    tensors = {int(one["index"]): one for one in raw.get_tensor_details()}
    operations = raw._get_ops_details()
    stored = {  # float16 weights are made to float32 by an operation of their own
        int(one["outputs"][0]): int(one["inputs"][0]) for one in operations if one["op_name"] == "DEQUANTIZE"
    }

    def constant(number: int) -> Floats:
        number = stored.get(number, number)
        return _dequantised(raw.get_tensor(number), tensors[number]["quantization_parameters"])

    found = []
    for one in operations:
        given = [int(number) for number in one["inputs"] if number >= 0]
        if one["op_name"] in _CONVOLUTIONS and len(given) == 3:
            _, kernel, bias = given
            # (out, h, w, in), or (1, h, w, out) where each channel has its own
            found.append(Convolution(constant(kernel).transpose(1, 2, 3, 0), constant(bias)))
    return found


def _dequantised(values: npt.NDArray[Any], quantisation: Mapping[str, Any]) -> Floats:
    scales = np.asarray(quantisation["scales"], np.float32)
    if not scales.size:
        return values.astype(np.float32)
    along = [1] * values.ndim
    along[int(quantisation["quantized_dimension"])] = -1
    steps = values.astype(np.float64) - np.asarray(quantisation["zero_points"]).reshape(along)
    return np.asarray(steps * scales.reshape(along), np.float32)


def _layers(network: keras.Model) -> Iterator[tuple[Any, Any]]:
    """Each convolution with its batch normalisation, in the order of running; the head comes last, with none."""
    backbone = network.get_layer("backbone").layers
    for layer, following in itertools.pairwise(backbone):
        if isinstance(following, keras.layers.BatchNormalization):
            yield layer, following
    yield network.layers[-1], None


def _require_fit(
    found: list[Convolution], layers: list[tuple[Any, Any]], name: str, card: ModelCard | None, origin: str
) -> None:
    said = f"; its card says {card.backbone}" if card else ""
    advice = f"{said}; give the --recipe, or --alpha, that it was trained by"
    for number, (one, (convolution, _)) in enumerate(zip(found, layers, strict=False), 1):
        expected = tuple(convolution.kernel.shape)
        if one.kernel.shape != expected:
            raise OptionError(
                f"{origin}: not those of {name}: the kernel of convolution {number} is {one.kernel.shape}, expected "
                f"{expected}{advice}"
            )
    if len(found) != len(layers):
        raise OptionError(f"{origin}: not those of {name}: {len(found)} convolutions, expected {len(layers)}{advice}")


def _difference(network: keras.Model, file: Interpreter) -> float:
    """Between the logits that network and file give for the cells of some pictures; nan where those are all alike."""
    pictures = [picture(seed, TILE, TILE) for seed in range(_PICTURES)]
    file.resize(1, TILE, TILE)
    write = file.pixel_writer()
    theirs = []
    for image in pictures:
        write(image, file.input()[0])
        theirs.append(file.invoke()[0])
    ours = keras.ops.convert_to_numpy(network(np.stack(pictures).astype(np.float32), training=False))
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.sqrt(np.mean((ours - theirs) ** 2)) / np.std(theirs))
