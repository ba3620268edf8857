from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="the workstation's packages are not installed")

import keras
import tensorflow as tf

from crackedge.edge_runtime.errors import ProofError
from crackedge.edge_runtime.models.golden import picture
from crackedge.edge_runtime.models.interpreter import Interpreter
from crackedge.export.convert import QUANTISED, VARIANTS, convert, front_of, with_probability
from crackedge.export.parity import require_any_size, require_front

DarkNetwork = Callable[..., Any]

PICTURES = tuple(picture(seed, 448, 448) for seed in range(6))


def _convert(network: Any, variant: str, head: str = "logit-map") -> bytes:
    side = 448 if head == "logit-map" else 224
    pictures = tuple(one[:side, :side] for one in PICTURES)
    return convert(network, variant=variant, head=head, pictures=pictures, log=lambda _: None)


def _run(flatbuffer: bytes, image: Any, dtype: str) -> Any:
    network = Interpreter(flatbuffer, threads=1, origin="tiny")
    network.resize(1, *image.shape[:2])
    pixels = np.round(image / network.input_quantization[0]) if dtype == "int16" else image
    network.input()[0] = pixels
    return network.invoke()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scaling", ["one", "unit", "caffe"])
def test_every_variant_computes_what_keras_does_whatever_the_preprocessing(
    dark_network: DarkNetwork, scaling: str, variant: str
) -> None:
    network = dark_network(scaling=scaling)
    flatbuffer = _convert(network, variant)
    front = front_of(network, variant=variant, head="logit-map")
    assert front.dtype == ("int16" if variant == "int16x8" else "uint8")
    require_front(flatbuffer, front, origin="tiny")
    require_any_size(flatbuffer, origin="tiny")
    image = picture(9, 256, 352)
    expected = np.asarray(network(image[None].astype(np.float32)))
    off = np.abs(_run(flatbuffer, image, front.dtype) - expected).max()
    assert off < {"int8": 0.2, "float32": 1e-3, "float16": 0.02, "dynamic": 0.1, "int16x8": 0.1}[variant]


@pytest.mark.parametrize(("scaling", "step"), [("one", 1 / 127.5), ("unit", 1.0), ("caffe", 1.0)])
def test_an_int8_input_scales_by_itself_or_holds_the_pixels_as_they_are(
    dark_network: DarkNetwork, scaling: str, step: float
) -> None:
    network = Interpreter(_convert(dark_network(scaling=scaling), "int8"), threads=1, origin="tiny")
    scale, zero_point = network.input_quantization
    assert scale == pytest.approx(step, rel=1e-3)
    assert zero_point == pytest.approx(127.5 if scaling == "one" else 0, abs=0.6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_conventional_head_gives_the_probability_of_the_mean_logit(dark_network: DarkNetwork, variant: str) -> None:
    network = dark_network()
    classifier = with_probability(network)
    flatbuffer = _convert(classifier, variant, head="probability")
    front = front_of(classifier, variant=variant, head="probability")
    assert front.dtype == {"int8": "uint8", "int16x8": "int16"}.get(variant, "float32")
    require_front(flatbuffer, front, origin="tiny")
    image = picture(9, 224, 224)
    logit = float(np.asarray(network(image[None].astype(np.float32))).mean())
    found = _run(flatbuffer, image, front.dtype)
    assert found.shape == (1, 1)
    assert found[0, 0] == pytest.approx(1 / (1 + np.exp(-logit)), abs=0.02 if variant in QUANTISED else 2e-3)


class _Product(keras.layers.Layer):  # type: ignore[misc]
    def call(self, cells: Any) -> Any:
        return tf.math.cumprod(cells, axis=1)


def test_an_operation_that_tflite_does_not_have_is_named(
    dark_network: DarkNetwork, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    network = dark_network(middle=_Product())
    with pytest.raises(ProofError, match=r"^float32: the network needs Cumprod, which TFLite does not have") as caught:
        convert(network, variant="float32", head="logit-map", pictures=(), log=said.append)
    assert "\n" not in str(caught.value)
    assert "Cumprod" in "".join(said)
    assert capfd.readouterr() == ("", ""), "the converter's own words go to the log"


def test_the_converter_is_quiet_and_what_it_says_is_kept(
    dark_network: DarkNetwork, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    convert(dark_network(), variant="int8", head="logit-map", pictures=PICTURES, log=said.append)
    assert capfd.readouterr() == ("", "")
    assert "".join(said).strip()
