"""What an export starts from: a training run, or any Keras file of a crack classifier, turned into a logit map.

Global average pooling and a linear layer can change places: a 1x1 convolution with the linear layer's weights gives a
map of logits whose mean is the classifier's logit. Other classifiers stay what they are, and are read tile by tile.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime.errors import DataError, ModelError, OptionError, ProofError
from crackedge.edge_runtime.lattice import CELL, TILE, WINDOW_CELLS
from crackedge.edge_runtime.models import model as robot
from crackedge.edge_runtime.scenes.crack_shapes import draw_crack
from crackedge.edge_runtime.scenes.surfaces import SURFACES, render_surface
from crackedge.export import keras_file

INPUT_RANGES = (*robot.INPUT_RANGES, "caffe")  # caffe: BGR less its mean, as preprocess_input of ResNet50 and VGG16
_CAFFE_MEAN = (103.939, 116.779, 123.68)
_PIXELWISE = ("Rescaling", "Normalization", "TrueDivide", "Divide", "Multiply", "Subtract", "Add", "GetItem", "Stack")
_IDLE = ("Dropout", "SpatialDropout2D", "AlphaDropout", "GaussianDropout", "GaussianNoise", "Identity")
_SHAPING = ("Flatten", "Reshape", "Activation", "Softmax", "Sigmoid")
_TOLERANCE = 1e-3  # of a logit
_PICTURES = 12
_TOLD = 8.0  # beyond this logit a float32 probability tells no more


@dataclass(frozen=True, slots=True)
class Origin:
    """A network to export.

    Attributes:
        network: from (N, H, W, 3) float32 RGB in [0, 255], height and width multiples of 32, to the (N, H/32, W/32, 1)
            logit map; of a plain tile model from (N, 224, 224, 3) to the (N, 1) probability of crack. A chain of
            ``scale`` (where the pixels need it), the network proper, and ``logit_map``.
        head: ``"logit-map"`` or ``"probability"``.
        config: ``config.json`` of the training run; for a foreign file what stands in for it.
        notes: what was recognised, and what it means for the user.
    """

    network: keras.Model
    head: str
    config: dict[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Step:
    """One call of one layer on symbolic tensors."""

    layer: Any
    inputs: Sequence[Any]
    output: Any


class _NoLogitMapError(Exception):
    """Why a classifier cannot be turned into a logit map."""


def open_origin(path: Path, *, input_range: str | None = None, crack_index: int = 1) -> Origin:
    """Open what shall be exported.

    Args:
        path: the folder of a training run, or a ``.keras`` or ``.h5`` file of a classifier with one output (sigmoid)
            or two (softmax).
        input_range: what a foreign classifier takes for pixels, where its file does not say so: one of
            :data:`INPUT_RANGES`.
        crack_index: which class of a foreign classifier is the crack; a single output is the probability of class 1.

    Raises:
        DataError: not the folder of a training run.
        ModelError: the file is missing, unreadable, or no crack classifier.
        OptionError: an option is missing, or does not apply.
        ProofError: the network that was made of the classifier computes something else.
    """
    if input_range not in (None, *INPUT_RANGES):
        raise OptionError(f"input_range {input_range!r}: expected one of {', '.join(INPUT_RANGES)}")
    if crack_index not in (0, 1):
        raise OptionError(f"crack_index {crack_index!r}: expected 0 or 1")
    if not path.is_dir():
        return _foreign(path, input_range, crack_index)
    config = _run_config(path)
    if input_range is not None or crack_index != 1:
        raise OptionError(f"{path}: a training run says what its network takes; leave out input_range and crack_index")
    return Origin(keras_file.load(path / "model.keras"), "logit-map", config, ())


def _foreign(path: Path, input_range: str | None, crack_index: int) -> Origin:
    classifier = keras_file.load(path)
    size, classes = _signature(classifier, path)
    if not isinstance(classifier, keras.Sequential):  # which may list its one input, and its one output
        classifier = keras.Model(classifier.inputs[0], classifier.outputs[0], name=classifier.name)
    pixels = keras.Input((*size, 3), name="input")
    output, steps = _trace(classifier, pixels)
    activation = _activation(steps[-1].layer)
    notes: list[str] = []
    if activation == "linear":
        activation = "softmax" if classes == 2 else "sigmoid"
        notes.append(f"its last layer is linear: taken for logits, followed by {activation}")
        classifier = keras.Sequential([classifier, keras.layers.Activation(activation)], name=classifier.name)
        output, steps = _trace(classifier, pixels)
    if activation not in ("sigmoid", "softmax") or (activation == "softmax" and classes == 1):
        raise ModelError(
            f"{path}: its last layer is {activation} of {classes}; expected sigmoid of one class, or softmax of two"
        )
    taken, known_by = _input_range(pixels, steps, input_range, path)
    notes.append(f"takes pixels as {taken} ({known_by})")
    pictures = _pictures(size)
    expected = _answers(classifier, _scaled(pictures, taken), path)
    backbone = f"foreign {_largest(classifier).name}"
    cut = _behind_caffe(pixels, output, steps) if taken == "0..255" else None
    if cut is not None:
        classifier, taken = cut, "caffe"
        pixels = keras.Input((*size, 3), name="input")
        output, steps = _trace(classifier, pixels)
        notes.append("begins as ResNet50 and VGG16 do, with BGR less its mean: made a convolution, which int8 can hold")
    try:
        body, kernel, bias = _head(pixels, output, steps)
        network = _logit_map(body, *_crack_logit(kernel, bias, activation, crack_index), taken)
        head = "logit-map"
        notes.append(
            f"global average pooling, then linear, then {activation}: turned into a logit map for both engines"
        )
    except _NoLogitMapError as reason:
        network = _tile_model(classifier, size, crack_index, taken, f"{path}: cannot become a logit map ({reason})")
        head = "probability"
        notes.append(
            f"cannot become a logit map ({reason}): a plain tile model for the tiles engine alone, which at its stride "
            "of 128 px reads every pixel three times, and does not say where in a tile the crack is"
        )
    if size != (TILE, TILE):
        notes.append(
            f"made for pictures of {size[1]}x{size[0]} px, read here in tiles of {TILE} px: cracks should be as wide, "
            "in pixels, as in its training"
        )
    off = _difference(network, pictures, expected, activation, crack_index)
    if not off <= _TOLERANCE:
        raise ProofError(
            f"{path}: the network made of it gives logits that differ by {off:.3g} from the file's, expected at most "
            f"{_TOLERANCE}; please report which layers this file has"
        )
    notes.append(f"its logits are the file's within {max(off, 1e-6):.1g} on {_PICTURES} pictures")
    config = {
        "recipe": {"name": path.stem, "backbone": backbone},
        "sets": [],
        "weights": path.name,
        "tools": {"keras": keras.__version__},
    }
    return Origin(network, head, config, tuple(notes))


def _run_config(folder: Path) -> dict[str, Any]:
    if (folder / "saved_model.pb").exists():
        raise ModelError(
            f"{folder}: a TensorFlow SavedModel; save it as .keras or .h5 where it was made, and give that"
        )
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder}: not the folder of a training run (config.json: {error}); give what `crackedge train` made, "
            "or a .keras or .h5 file"
        ) from error
    return config


def _signature(model: keras.Model, path: Path) -> tuple[tuple[int, int], int]:
    """Height and width that a classifier takes, and how many outputs it has."""
    if not _has_layers(model) or not hasattr(model, "inputs"):
        raise ModelError(f"{path}: neither a Functional nor a built Sequential model; its layers cannot be followed")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        found = f"{len(model.inputs)} inputs and {len(model.outputs)} outputs"
        raise ModelError(f"{path}: {found}; expected one picture in, one classification out")
    taken, given = tuple(model.inputs[0].shape[1:]), tuple(model.outputs[0].shape[1:])
    if len(taken) != 3 or taken[2] != 3:
        raise ModelError(f"{path}: takes {taken}; expected pictures (height, width, 3)")
    if len(given) == 3 and given[2] == 1:
        raise ModelError(f"{path}: gives a map; if it is of `crackedge train`, give the folder that it lies in")
    if len(given) != 1:
        raise ModelError(f"{path}: gives {given}; expected one or two numbers for a picture")
    if given[0] not in (1, 2):
        raise ModelError(f"{path}: tells {given[0]} classes apart; expected crack and no crack")
    return (taken[0] or TILE, taken[1] or TILE), given[0]


def _trace(model: Any, inputs: Any) -> tuple[Any, list[_Step]]:
    """Call the layers of a model on another input, those of models inside it too, but none that idle in inference."""
    steps: list[_Step] = []
    names: dict[str, Any] = {}

    def call_of(layer: Any) -> Callable[..., Any]:
        if _has_layers(layer):
            return lambda *args, **kwargs: run(layer, next(iter((*args, *kwargs.values()))))
        if _idles(layer):
            return lambda *args, **kwargs: next(iter((*args, *kwargs.values())))

        def call(*args: Any, **kwargs: Any) -> Any:
            while names.setdefault(layer.name, layer) is not layer:  # two models inside may use a name twice
                layer.name += "_"
            output = layer(*args, **kwargs)
            given = [one for one in keras.tree.flatten((args, kwargs)) if isinstance(one, keras.KerasTensor)]
            steps.append(_Step(layer, given, output))
            return output

        return call

    def run(part: Any, tensor: Any) -> Any:
        if not isinstance(part, keras.Sequential):
            outputs = keras.tree.flatten(part._run_through_graph(tensor, call_of))  # as Functional.call does
            return outputs[0] if len(outputs) == 1 else outputs
        for layer in part.layers:
            tensor = call_of(layer)(tensor)
        return tensor

    return run(model, inputs), steps


def _largest(model: Any) -> Any:
    """The model inside a model that has most of its weights, or itself."""
    inside = [layer for layer in model.layers if _has_layers(layer)]
    return _largest(max(inside, key=lambda layer: layer.count_params())) if inside else model


def _has_layers(model: Any) -> bool:
    return isinstance(model, keras.Sequential) or hasattr(model, "_run_through_graph")


def _idles(layer: Any) -> bool:
    name = type(layer).__name__
    augments = name.startswith("Random") and name != "RandomCrop"
    return name in _IDLE or augments


def _activation(layer: Any) -> str:
    name = type(layer).__name__
    if name in ("Sigmoid", "Softmax"):
        return name.lower()
    function = getattr(layer, "activation", None)
    return getattr(function, "__name__", name)


def _input_range(pixels: Any, steps: Sequence[_Step], given: str | None, path: Path) -> tuple[str, str]:
    """What the classifier takes for pixels, and how that is known."""
    inside = _scales_pixels(pixels, steps)
    if given is not None:
        doubt = ", though it scales 0..255 itself: was it trained like that?" if inside and given != "0..255" else ""
        return given, f"as given{doubt}"
    if inside:
        return "0..255", "it scales them itself"
    raise OptionError(
        f"{path}: does not say what it takes for pixels; give --input-range as it was trained with "
        f"({', '.join(INPUT_RANGES)}), for example 0..1 after ImageDataGenerator(rescale=1/255)"
    )


def _scales_pixels(pixels: Any, steps: Sequence[_Step]) -> bool:
    """Whether a classifier begins by dividing pixels or taking a mean off them, as one of 0..255 does."""
    front = keras.Model(pixels, _scaled_pixels(pixels, steps))
    black, white = (np.asarray(front(np.full((1, *pixels.shape[1:]), value, np.float32))) for value in (0, 255))
    return bool(np.abs(white - black).max() < 20 or np.abs(black).max() > 20)


def _scaled_pixels(pixels: Any, steps: Sequence[_Step]) -> Any:
    """The first tensor of a classifier that more than its own pixel will be mixed with."""
    return next((step.inputs[0] for step in steps if type(step.layer).__name__ not in _PIXELWISE), pixels)


def _behind_caffe(pixels: Any, output: Any, steps: Sequence[_Step]) -> keras.Model | None:
    """What follows in a classifier that begins with preprocess_input of ResNet50 and VGG16; None where none does.

    Its reversed channels and its means stay at an int8 input, which then holds no pixels any more.
    """
    scaled = _scaled_pixels(pixels, steps)
    noise = np.random.default_rng(7).integers(0, 256, (1, *pixels.shape[1:])).astype(np.float32)
    found = np.asarray(keras.Model(pixels, scaled)(noise))
    if found.shape != noise.shape or not np.allclose(found, _scaled(noise, "caffe"), rtol=0, atol=2e-3):
        return None
    try:
        return keras.Model(scaled, output, name="classifier")
    except ValueError:  # something else takes the pixels too
        return None


def _head(
    pixels: Any, output: Any, steps: Sequence[_Step]
) -> tuple[keras.Model, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The classifier up to its pooling, and the (C, outputs) kernel and (outputs,) bias of all that follows."""
    maker = {id(step.output): step for step in steps}
    tail: list[_Step] = []
    step = maker[id(output)]
    while not _pools(step):
        tail.append(step)
        if len(step.inputs) != 1 or id(step.inputs[0]) not in maker:
            raise _NoLogitMapError("no global average pooling at its end")
        step = maker[id(step.inputs[0])]
    features = step.inputs[0]
    kernel, bias = np.eye(features.shape[-1]), np.zeros(features.shape[-1])
    for one in reversed(tail):
        layer, name = one.layer, type(one.layer).__name__
        if name == "Dense":
            shift = 0 if layer.bias is None else np.asarray(layer.bias)
            kernel, bias = kernel @ np.asarray(layer.kernel), bias @ np.asarray(layer.kernel) + shift
        elif name == "BatchNormalization":
            gain = 1 / np.sqrt(np.asarray(layer.moving_variance, np.float64) + layer.epsilon)
            gain = gain if layer.gamma is None else gain * np.asarray(layer.gamma)
            shift = 0 if layer.beta is None else np.asarray(layer.beta)
            kernel, bias = kernel * gain, (bias - np.asarray(layer.moving_mean)) * gain + shift
        elif name not in _SHAPING or one.output.shape[-1] != kernel.shape[1]:
            raise _NoLogitMapError(f"{name} between its pooling and its output")
        if one is not tail[0] and _activation(layer) not in ("linear", name):
            raise _NoLogitMapError(f"{_activation(layer)} between its pooling and its output")
    return keras.Model(pixels, features, name="backbone"), kernel, bias


def _pools(step: _Step) -> bool:
    name = type(step.layer).__name__
    whole = name == "AveragePooling2D" and step.inputs[0].shape[1:3] == tuple(step.layer.pool_size)
    return name == "GlobalAveragePooling2D" or whole


def _crack_logit(
    kernel: npt.NDArray[np.float64], bias: npt.NDArray[np.float64], activation: str, crack_index: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The (C, 1) kernel and (1,) bias of the logit of crack."""
    crack = np.array([1.0 if crack_index else -1.0])
    if kernel.shape[1] == 2:
        other = -1.0 if activation == "softmax" else 0.0
        crack = np.array([other, 1.0] if crack_index else [1.0, other])
    return kernel @ crack[:, None], bias @ crack[:, None]


def _logit_map(
    body: keras.Model, kernel: npt.NDArray[np.float64], bias: npt.NDArray[np.float64], input_range: str
) -> keras.Model:
    """Body, then the head as a 1x1 convolution, on pictures of any size."""
    anything = keras.Input((None, None, 3), name="scaled")
    try:
        opened = keras.Model(anything, _trace(body, anything)[0], name="backbone")
        height, width, *other = (
            side
            for size in ((TILE, TILE), (8 * CELL, 10 * CELL))
            for side in _trace(body, keras.Input((*size, 3)))[0].shape[1:3]
        )
    except (ValueError, TypeError) as error:
        raise _NoLogitMapError("its layers take pictures of one size") from error
    finer = height // WINDOW_CELLS  # cells of a map of stride 16, 8, … are averaged; the mean of all stays what it is
    if not finer or [height, width, *other] != [finer * side for side in (WINDOW_CELLS, WINDOW_CELLS, 8, 10)]:
        raise _NoLogitMapError(
            f"a tile gives {height}x{width} features, expected {WINDOW_CELLS}x{WINDOW_CELLS} or a multiple"
        )
    if finer > 1 and any(side and side % CELL for side in body.input_shape[1:3]):
        raise _NoLogitMapError(f"the features of its pictures do not fill cells of {CELL} px")
    pixels = keras.Input((None, None, 3), name="pixels")
    maps = opened(_scaled(pixels, input_range))
    if finer > 1:
        maps = keras.layers.AveragePooling2D(finer, name="cells")(maps)
    convolution = keras.layers.Conv2D(1, 1, name="logit_map")
    network = keras.Model(pixels, convolution(maps), name=body.name)
    convolution.set_weights([kernel[None, None], bias])
    return network


def _tile_model(
    classifier: keras.Model, size: tuple[int, int], crack_index: int, input_range: str, origin: str
) -> keras.Model:
    """The classifier as it is, giving (N, 1) probabilities of crack."""
    sides = (TILE, TILE) if size == (TILE, TILE) else (None, None)
    scaled = keras.Input((*sides, 3), name="scaled")
    try:
        _trace(classifier, keras.Input((TILE, TILE, 3)))
        output, _ = _trace(classifier, scaled)
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"{origin} and takes pictures of {size[1]}x{size[0]} px alone; a plain tile model must take {TILE}x{TILE}"
        ) from error
    pixels = keras.Input((*sides, 3), name="pixels")
    crack = keras.Model(scaled, output, name="backbone")(_scaled(pixels, input_range))
    if crack.shape[1] == 2:
        crack = crack[:, crack_index : crack_index + 1]
    elif crack_index == 0:
        crack = keras.layers.Rescaling(-1.0, offset=1.0, name="probability")(crack)
    return keras.Model(pixels, crack, name=classifier.name)


def _scaled(pixels: Any, input_range: str) -> Any:
    """Pixels in [0, 255] as the classifier takes them."""
    if input_range == "caffe":
        scale = keras.layers.Conv2D(3, 1, trainable=False, name="scale")
        scale.build((None, None, None, 3))
        scale.set_weights([np.eye(3)[::-1].reshape(1, 1, 3, 3), -np.array(_CAFFE_MEAN)])
        return scale(pixels)
    low, high = robot.INPUT_RANGES[input_range]
    if (low, high) == (0.0, 255.0):
        return pixels
    return keras.layers.Rescaling((high - low) / 255, offset=low, name="scale")(pixels)


def _pictures(size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Noise, and surfaces of which some have cracks: (N, H, W, 3) in [0, 255]."""
    rng = np.random.default_rng(7)
    surfaces = [render_surface(kind, size, rng) for kind in list(SURFACES)[: _PICTURES - 4]]
    for surface in surfaces[::2]:
        draw_crack(surface, rng, width_px=max(2, size[0] // 40), contrast=0.6)
    return np.stack([*rng.integers(0, 256, (4, *size, 3)), *surfaces]).astype(np.float32)


def _answers(classifier: keras.Model, scaled: Any, path: Path) -> npt.NDArray[Any]:
    """What a classifier says of pictures, scaled as it takes them.

    Raises:
        ModelError: it says no numbers.
    """
    answers: npt.NDArray[Any] = np.asarray(classifier(scaled, training=False))
    if not np.isfinite(answers).all():
        raise ModelError(
            f"{path}: gives no numbers (NaN): its training diverged; give weights from before, or train it again"
        )
    return answers


def _difference(
    network: keras.Model,
    pictures: npt.NDArray[np.float32],
    answers: npt.NDArray[Any],
    activation: str,
    crack_index: int,
) -> float:
    """The largest difference between the crack's logits in a classifier's answers and in what was made of it."""
    found = np.asarray(network(pictures, training=False), np.float64)
    found = found.mean((1, 2)) if network.output.shape[1:] != (1,) else _logits(found, "sigmoid", 1)
    expected = _logits(answers, activation, crack_index)
    return float(np.abs(np.clip(found[:, 0], -_TOLD, _TOLD) - np.clip(expected[:, 0], -_TOLD, _TOLD)).max())


def _logits(outputs: npt.NDArray[Any], activation: str, crack_index: int) -> npt.NDArray[np.float64]:
    """(N, 1) logits of crack from the (N, 1) or (N, 2) probabilities that a classifier gives."""
    sure = np.clip(outputs.astype(np.float64), 1e-30, 1 - 1e-9)
    logits = np.log(sure) if activation == "softmax" else np.log(sure) - np.log1p(-sure)
    crack, _ = _crack_logit(logits, np.zeros(logits.shape[1]), activation, crack_index)
    return crack
