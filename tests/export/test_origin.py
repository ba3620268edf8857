from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="the workstation's packages are not installed")

import keras
from keras import layers, ops

from crackedge.edge_runtime.errors import CrackedgeError, DataError, ModelError, OptionError, ProofError
from crackedge.export import origin
from crackedge.export.convert import convert, front_of
from crackedge.export.origin import Origin, open_origin
from crackedge.export.parity import require_front

Save = Callable[..., Path]
_CHANNELS = 6


def _body(pixels: Any, stride: int = 32) -> Any:
    """Strided convolutions with normalisation: (N, H, W, 3) to (N, H/stride, W/stride, 6), like a backbone."""
    features = pixels
    for _ in range(stride.bit_length() - 1):
        features = layers.Conv2D(_CHANNELS, 3, strides=2, padding="same", activation="tanh")(features)
    return layers.BatchNormalization()(features)


def _backbone(size: int | None = 224, **options: Any) -> Any:
    pixels = keras.Input((size, size, 3))
    return keras.Model(pixels, _body(pixels, **options), name="net")


def _classifier(*tail: Any, size: int | None = 224, front: Any = None, stride: int = 32) -> Any:
    """A functional classifier as notebooks write it, all in one graph."""
    pixels = keras.Input((size, size, 3))
    tensor = _body(front(pixels) if front else pixels, stride)
    for layer in tail:
        tensor = layer(tensor)
    return keras.Model(pixels, tensor)


def _one(activation: str = "sigmoid") -> list[Any]:
    return [layers.GlobalAveragePooling2D(), layers.Dense(1, activation=activation, bias_initializer="ones")]


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    keras.utils.set_random_seed(2)


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def save(network: Any, name: str = "net.keras") -> Path:
        rng = np.random.default_rng(5)
        for layer in network._flatten_layers():  # no normalisation that does nothing
            if isinstance(layer, layers.BatchNormalization):
                layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
        network.save(tmp_path / name)
        return tmp_path / name

    return save


def _pictures(size: int = 224) -> Any:
    """Noise, a gradient, and a dark line on bright ground."""
    rng = np.random.default_rng(1)
    pictures = np.empty((3, size, size, 3), np.float32)
    pictures[0] = rng.integers(0, 256, (size, size, 3))
    pictures[1] = np.linspace(0, 255, size)[:, None, None]
    pictures[2], pictures[2, :, 30:36] = 200, 10
    return pictures


def _logits(origin: Origin, pictures: Any) -> Any:
    assert origin.head == "logit-map"
    maps = np.asarray(origin.network(pictures))
    assert maps.shape == (len(pictures), pictures.shape[1] // 32, pictures.shape[2] // 32, 1)
    return maps.mean((1, 2, 3))


def _log_odds(probability: Any) -> Any:
    probability = np.asarray(probability, np.float64)
    return np.log(probability / (1 - probability))


def test_a_notebook_s_network_becomes_a_logit_map(save: Save) -> None:
    classifier = _classifier(*_one())
    opened = open_origin(save(classifier), input_range="0..1")
    pictures = _pictures()
    assert _logits(opened, pictures) == pytest.approx(_log_odds(classifier(pictures / 255))[:, 0], abs=1e-4)
    assert np.asarray(opened.network(np.zeros((1, 256, 352, 3)))).shape == (1, 8, 11, 1)
    assert [layer.name for layer in opened.network.layers[1:]] == ["scale", "backbone", "logit_map"]
    assert opened.config["recipe"]["name"] == "net"
    assert any("both engines" in note for note in opened.notes)


def test_the_map_says_where(save: Save) -> None:
    classifier = _classifier(*_one())
    network = open_origin(save(classifier), input_range="0..1").network
    picture = np.full((1, 224, 448, 3), 128, np.float32)
    before = np.asarray(network(picture))
    picture[:, :96, :96] = 0
    moved = np.abs(np.asarray(network(picture)) - before)[0, :, :, 0] > 1e-6
    assert moved[:3, :3].all()
    assert not moved[5:].any()
    assert not moved[:, 5:].any()


@pytest.mark.parametrize("crack_index", [0, 1])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
def test_two_outputs(save: Save, activation: str | None, crack_index: int) -> None:
    classifier = _classifier(layers.GlobalAveragePooling2D(), layers.Dense(2, activation=activation))
    opened = open_origin(save(classifier), input_range="0..255", crack_index=crack_index)
    outputs = np.asarray(classifier(_pictures()))
    if activation is None:
        expected = outputs[:, crack_index] - outputs[:, 1 - crack_index]
        assert any("taken for logits" in note for note in opened.notes)
    else:
        expected = _log_odds(outputs[:, crack_index])
    assert _logits(opened, _pictures()) == pytest.approx(expected, abs=1e-4)


def test_one_output_for_the_class_without_cracks(save: Save) -> None:
    classifier = _classifier(*_one())
    opened = open_origin(save(classifier), input_range="0..255", crack_index=0)
    assert _logits(opened, _pictures()) == pytest.approx(-_log_odds(classifier(_pictures()))[:, 0], abs=1e-4)


@pytest.mark.parametrize(
    "tail",
    [
        lambda: [layers.AveragePooling2D(7), layers.Flatten(), layers.Dense(1, activation="sigmoid")],
        lambda: [layers.GlobalAveragePooling2D(keepdims=True), layers.Flatten(), *_one()[1:]],
        lambda: [layers.GlobalAveragePooling2D(), layers.Dropout(0.5), layers.Dense(1), layers.Activation("sigmoid")],
        lambda: [layers.GlobalAveragePooling2D(), layers.BatchNormalization(), layers.Dense(1, activation="sigmoid")],
        lambda: [
            layers.GlobalAveragePooling2D(),
            layers.BatchNormalization(scale=False, center=False),
            layers.Dense(5, use_bias=False),
            layers.BatchNormalization(),
            layers.Dense(2),
            layers.Softmax(),
        ],
        lambda: [layers.GlobalAveragePooling2D(), layers.Dense(1), ops.sigmoid],
        lambda: [layers.Conv2D(1, 1), layers.GlobalAveragePooling2D(), layers.Activation("sigmoid")],
    ],
)
def test_linear_tails_fold_exactly(save: Save, tail: Callable[[], list[Any]]) -> None:
    classifier = _classifier(*tail())
    opened = open_origin(save(classifier), input_range="0..255")
    outputs = np.asarray(classifier(_pictures()), np.float64)
    expected = np.log(outputs[:, -1]) - np.log(outputs[:, 0] if outputs.shape[1] == 2 else 1 - outputs[:, 0])
    assert _logits(opened, _pictures()) == pytest.approx(expected, abs=1e-4)


def _nested(pooling: bool) -> Any:
    pixels = keras.Input((224, 224, 3))
    features = _body(pixels)
    return keras.Model(pixels, layers.GlobalAveragePooling2D()(features) if pooling else features)


def _functional_around(backbone: Any) -> Any:
    pixels = keras.Input((224, 224, 3))
    features = backbone(layers.RandomRotation(0.2)(pixels), training=False)
    return keras.Model(pixels, layers.Dense(1, activation="sigmoid")(layers.GlobalAveragePooling2D()(features)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.Sequential([keras.Input((224, 224, 3)), _nested(False), *_one()]),
        lambda: keras.Sequential([keras.Input((224, 224, 3)), _nested(True), _one()[1]]),
        lambda: keras.Sequential([_nested(True), keras.Sequential([layers.Dropout(0.2), _one()[1]])]),
        lambda: _functional_around(_nested(False)),
        lambda: keras.Sequential(
            [keras.Sequential([layers.RandomFlip(), layers.RandomZoom(0.1)]), _functional_around(_nested(False))]
        ),
        lambda: _classifier(*_one(), size=None),
    ],
)
def test_models_inside_models(save: Save, make: Callable[[], Any]) -> None:
    classifier = make()
    classifier.build((None, 224, 224, 3))
    opened = open_origin(save(classifier), input_range="-1..1")
    expected = _log_odds(classifier(_pictures() / 127.5 - 1, training=False))[:, 0]
    assert _logits(opened, _pictures()) == pytest.approx(expected, abs=1e-4)
    assert not [layer for layer in opened.network._flatten_layers() if type(layer).__name__.startswith("Random")]


def test_a_single_input_and_output_in_lists(save: Save) -> None:
    single = _classifier(layers.GlobalAveragePooling2D(), layers.Dense(1))
    inner = keras.Model([single.input], [single.output])
    pixels = keras.Input((224, 224, 3))
    opened = open_origin(save(keras.Model([pixels], [layers.Dropout(0.1)(inner(pixels)[0])])), input_range="0..255")
    assert _logits(opened, _pictures()) == pytest.approx(np.asarray(single(_pictures()))[:, 0], abs=1e-4)


def test_names_that_two_models_inside_share(save: Save) -> None:
    def part() -> Any:
        pixels = keras.Input((None, None, 3))
        return keras.Model(pixels, layers.Conv2D(3, 3, padding="same", activation="tanh", name="twice")(pixels))

    classifier = keras.Sequential([keras.Input((224, 224, 3)), part(), part(), _nested(False), *_one()])
    opened = open_origin(save(classifier), input_range="0..1")
    assert _logits(opened, _pictures()) == pytest.approx(_log_odds(classifier(_pictures() / 255))[:, 0], abs=1e-4)


@pytest.mark.parametrize(
    "front",
    [
        lambda: layers.Rescaling(1 / 255),
        lambda: keras.Sequential([layers.RandomFlip("horizontal"), layers.Rescaling(1 / 127.5, offset=-1)]),
        lambda: keras.applications.mobilenet_v2.preprocess_input,
        lambda: keras.applications.resnet50.preprocess_input,
        lambda: layers.Normalization(mean=[120.0, 115.0, 110.0], variance=[3000.0, 3000.0, 3000.0]),
    ],
    ids=["unit", "nested", "tf", "caffe", "normalised"],
)
def test_scaling_inside_is_found(save: Save, front: Callable[[], Any]) -> None:
    classifier = _classifier(*_one(), front=front())
    opened = open_origin(save(classifier))
    assert _logits(opened, _pictures()) == pytest.approx(
        _log_odds(classifier(_pictures(), training=False))[:, 0], abs=1e-4
    )
    assert any("0..255" in note for note in opened.notes)
    opened = open_origin(save(classifier), input_range="0..1")
    assert _logits(opened, _pictures()) == pytest.approx(
        _log_odds(classifier(_pictures() / 255, training=False))[:, 0], abs=1e-4
    )
    assert any("was it trained like that?" in note for note in opened.notes)


@pytest.mark.parametrize("head", ["logit-map", "probability"])
def test_reversed_channels_are_no_input_of_int8(save: Save, head: str) -> None:
    """They and their means would stay at it: "uint8 in steps of 1.48502 from 83"."""
    tail = _one() if head == "logit-map" else [layers.Flatten(), _one()[1]]
    classifier = _classifier(*tail, front=keras.applications.resnet50.preprocess_input)
    opened = open_origin(save(classifier))
    assert opened.head == head
    assert any("ResNet50" in note for note in opened.notes)
    flatbuffer = convert(
        opened.network, variant="int8", head=head, pictures=list(_pictures().astype(np.uint8)), log=lambda _: None
    )
    require_front(flatbuffer, front_of(opened.network, variant="int8", head=head), origin="net")


def test_pixels_that_are_taken_twice_stay_as_they_are(save: Save) -> None:
    def front(pixels: Any) -> Any:
        return layers.Concatenate()([keras.applications.resnet50.preprocess_input(pixels), pixels])

    classifier = _classifier(*_one(), front=front)
    opened = open_origin(save(classifier))
    assert _logits(opened, _pictures()) == pytest.approx(_log_odds(classifier(_pictures()))[:, 0], abs=1e-4)


@pytest.mark.parametrize("flat", [False, True])
def test_a_training_that_diverged_is_not_its_layers_fault(save: Save, flat: bool) -> None:
    classifier = _classifier(*([layers.Flatten(), _one()[1]] if flat else _one()))
    kernel, bias = classifier.layers[-1].get_weights()
    classifier.layers[-1].set_weights([np.full_like(kernel, np.nan), bias])
    with pytest.raises(ModelError, match=r"net\.keras: gives no numbers \(NaN\): its training diverged"):
        open_origin(save(classifier), input_range="0..1")


@pytest.mark.parametrize("front", [None, layers.Rescaling(2.0, offset=-1.0)])
def test_what_pixels_are_is_never_guessed(save: Save, front: Any) -> None:
    path = save(_classifier(*_one(), front=front))
    with pytest.raises(OptionError, match=r"--input-range .*0\.\.255.*caffe"):
        open_origin(path)


def test_pixels_as_the_older_networks_take_them(save: Save) -> None:
    classifier = _classifier(*_one())
    opened = open_origin(save(classifier), input_range="caffe")
    prepared = keras.applications.vgg16.preprocess_input(_pictures())
    assert _logits(opened, _pictures()) == pytest.approx(_log_odds(classifier(prepared))[:, 0], abs=1e-3)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize("pooling", [False, True])
def test_h5_files(save: Save, pooling: bool) -> None:
    classifier = keras.Sequential([keras.Input((224, 224, 3)), _nested(pooling), *_one()[pooling:]])
    opened = open_origin(save(classifier, "old.h5"), input_range="0..1")
    assert _logits(opened, _pictures()) == pytest.approx(_log_odds(classifier(_pictures() / 255))[:, 0], abs=1e-4)


@pytest.mark.parametrize("size", [128, 227])
def test_pictures_of_other_sizes(save: Save, size: int) -> None:
    classifier = _classifier(*_one(), size=size)
    opened = open_origin(save(classifier), input_range="0..1")
    maps = np.asarray(opened.network(_pictures(size)))
    assert maps.mean((1, 2, 3)) == pytest.approx(_log_odds(classifier(_pictures(size) / 255))[:, 0], abs=1e-4)
    assert _logits(opened, _pictures()).shape == (3,)
    assert any(f"{size}x{size} px" in note for note in opened.notes)


def test_a_finer_map_is_averaged_to_cells(save: Save) -> None:
    classifier = _classifier(*_one(), stride=8)
    opened = open_origin(save(classifier), input_range="0..1")
    assert _logits(opened, _pictures()) == pytest.approx(_log_odds(classifier(_pictures() / 255))[:, 0], abs=1e-4)


def test_mixed_precision_is_for_training(save: Save) -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        path = save(_classifier(*_one()))
    finally:
        keras.config.set_dtype_policy("float32")
    opened = open_origin(path, input_range="0..1")
    assert {layer.compute_dtype for layer in opened.network._flatten_layers()} == {"float32"}
    assert opened.network.output.dtype == "float32"
    assert _logits(opened, _pictures()).dtype == np.float32


@pytest.mark.parametrize(
    ("tail", "size", "stride", "reason"),
    [
        ([layers.Flatten, lambda: layers.Dense(1, activation="sigmoid")], 224, 32, "no global average pooling"),
        ([layers.GlobalMaxPooling2D, lambda: layers.Dense(1, activation="sigmoid")], 224, 32, "no global average"),
        ([layers.GlobalMaxPooling2D, lambda: layers.Dense(1, activation="sigmoid")], 96, 32, "no global average"),
        (
            [layers.GlobalAveragePooling2D, lambda: layers.Dense(4, "relu"), lambda: layers.Dense(2, "softmax")],
            224,
            32,
            "relu between",
        ),
        (
            [layers.GlobalAveragePooling2D, layers.LayerNormalization, lambda: layers.Dense(1, "sigmoid")],
            224,
            32,
            "LayerNormalization between",
        ),
        ([layers.GlobalAveragePooling2D, lambda: layers.Dense(1)], 224, 64, "4x4 features"),
        ([layers.GlobalAveragePooling2D, lambda: layers.Dense(1)], 100, 16, "do not fill cells"),
    ],
)
def test_other_classifiers_become_plain_tile_models(
    save: Save, tail: list[Callable[[], Any]], size: int, stride: int, reason: str
) -> None:
    classifier = _classifier(*(make() for make in tail), size=size, stride=stride)
    for crack_index in (0, 1):
        opened = open_origin(save(classifier), input_range="0..1", crack_index=crack_index)
        assert opened.head == "probability"
        assert any(reason in note and "three times" in note for note in opened.notes)
        outputs = np.asarray(classifier(_pictures(size) / 255))
        if outputs.shape[1] == 2:
            expected = outputs[:, [crack_index]]
        else:
            probability = outputs if tail[-1]().activation.__name__ == "sigmoid" else 1 / (1 + np.exp(-outputs))
            expected = probability if crack_index else 1 - probability
        assert np.asarray(opened.network(_pictures(size))) == pytest.approx(expected, abs=1e-5)
        assert np.asarray(opened.network(_pictures())).shape == (3, 1)


def test_a_tile_model_of_one_other_size_is_refused(save: Save) -> None:
    path = save(_classifier(layers.Flatten(), layers.Dense(1, activation="sigmoid"), size=96))
    with pytest.raises(ModelError, match=r"no global average pooling.*96x96 px alone.*224x224"):
        open_origin(path, input_range="0..1")


def test_layers_of_one_size_stay_a_tile_model(save: Save) -> None:
    reshape = [layers.Reshape((49, _CHANNELS)), layers.Reshape((7, 7, _CHANNELS))]
    opened = open_origin(save(_classifier(*reshape, *_one())), input_range="0..1")
    assert opened.head == "probability"
    assert any("one size" in note for note in opened.notes)


def _two_inputs() -> Any:
    first, second = keras.Input((224, 224, 3)), keras.Input((224, 224, 3))
    both = layers.GlobalAveragePooling2D()(layers.Add()([first, second]))
    return keras.Model([first, second], layers.Dense(1, activation="sigmoid")(both))


def _two_outputs() -> Any:
    pixels = keras.Input((224, 224, 3))
    pooled = layers.GlobalAveragePooling2D()(pixels)
    return keras.Model(pixels, [layers.Dense(1)(pooled), layers.Dense(1)(pooled)])


def _grey() -> Any:
    return keras.Sequential([keras.Input((224, 224, 1)), layers.Conv2D(3, 3), *_one()])


class _Odd(layers.Layer):  # type: ignore[misc]
    def call(self, tensor: Any) -> Any:
        return tensor


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _classifier(layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")), "10 classes"),
        (lambda: _classifier(layers.GlobalAveragePooling2D(), layers.Dense(1, activation="softmax")), "softmax of 1"),
        (lambda: _classifier(layers.GlobalAveragePooling2D(), layers.Dense(1, activation="tanh")), "tanh of 1"),
        (lambda: _classifier(layers.Conv2D(1, 1)), "gives a map.*give the folder"),
        (lambda: _classifier(layers.Conv2D(4, 1)), r"gives \(7, 7, 4\)"),
        (_grey, r"takes \(224, 224, 1\)"),
        (_two_inputs, "2 inputs"),
        (_two_outputs, "2 outputs"),
        (lambda: _classifier(layers.Lambda(lambda tensor: tensor), *_one()), "Lambda layer"),
        (lambda: _classifier(_Odd(), *_one()), "'_Odd'.*own layers"),
    ],
)
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_what_is_no_crack_classifier_is_refused_in_one_line(
    save: Save, make: Callable[[], Any], message: str, suffix: str
) -> None:
    path = save(make(), f"net.{suffix}")
    with pytest.raises(ModelError, match=message) as error:
        open_origin(path, input_range="0..1")
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_files_that_cannot_be_read(save: Save, tmp_path: Path) -> None:
    good = save(_classifier(*_one())).read_bytes()
    files = {"half.keras": good[: len(good) // 2], "junk.h5": b"junk", "empty.keras": b"", "net.pt": good}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ModelError, match=re.escape(str(tmp_path / name))) as error:
            open_origin(tmp_path / name, input_range="0..1")
        assert "\n" not in str(error.value)
    with pytest.raises(ModelError, match="no such file"):
        open_origin(tmp_path / "absent.keras")
    _classifier(*_one()).save_weights(tmp_path / "net.weights.h5")
    with pytest.raises(ModelError, match="weights alone"):
        open_origin(tmp_path / "net.weights.h5")


def test_wrong_options(save: Save) -> None:
    path = save(_classifier(*_one()))
    with pytest.raises(OptionError, match=r"input_range '0\.\.2'"):
        open_origin(path, input_range="0..2")
    with pytest.raises(OptionError, match="crack_index 2"):
        open_origin(path, input_range="0..1", crack_index=2)


def test_a_network_that_computes_something_else_is_not_let_through(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = origin._crack_logit
    shifted = iter([0.01, 0.0])

    def off(kernel: Any, bias: Any, activation: str, crack_index: int) -> Any:
        kernel, bias = exact(kernel, bias, activation, crack_index)
        return kernel, bias + next(shifted)

    monkeypatch.setattr(origin, "_crack_logit", off)
    with pytest.raises(ProofError, match=r"differ by 0\.01"):
        open_origin(save(_classifier(*_one())), input_range="0..1")


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    pixels = keras.Input((None, None, 3))
    logits = layers.Conv2D(1, 1, name="logit_map")(
        _backbone(None)(layers.Rescaling(1 / 127.5, -1, name="scale")(pixels))
    )
    keras.Model(pixels, logits).save(folder / "model.keras")
    (folder / "config.json").write_text('{"recipe": {"name": "mine"}, "sets": []}')
    return folder


def test_a_run_folder_is_taken_as_it_is(run_folder: Path) -> None:
    opened = open_origin(run_folder)
    assert (opened.head, opened.notes, opened.config["recipe"]["name"]) == ("logit-map", (), "mine")
    assert _logits(opened, _pictures()).shape == (3,)
    with pytest.raises(OptionError, match="leave out"):
        open_origin(run_folder, input_range="0..1")
    with pytest.raises(ModelError, match="give the folder"):
        open_origin(run_folder / "model.keras")


@pytest.mark.parametrize(("damage", "kind"), [("config.json", DataError), ("model.keras", ModelError)])
def test_what_is_no_run_folder_is_refused(run_folder: Path, damage: str, kind: type[CrackedgeError]) -> None:
    (run_folder / damage).unlink()
    with pytest.raises(kind, match="crackedge train"):
        open_origin(run_folder)


def test_tensorflow_s_own_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(ModelError, match=r"SavedModel.*\.keras"):
        open_origin(tmp_path)
