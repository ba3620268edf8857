from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="the workstation's packages are not installed")

import keras

from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.models.golden import picture
from crackedge.edge_runtime.models.interpreter import Interpreter
from crackedge.export import quantisation
from crackedge.export.convert import convert
from crackedge.export.parity import Agreement, Judged, require_any_size
from crackedge.export.quantisation import PICTURES, Int8Layers, quantise

PICTURES_HERE = [picture(seed, 224, 224) for seed in range(8)]


@pytest.fixture(scope="module")
def network() -> Any:
    """Three layers, the second of which eight bits cannot hold: one channel is a thousand times wider."""
    rng = np.random.default_rng(2)
    keras.utils.set_random_seed(2)
    pixels = keras.Input((None, None, 3))
    cells = keras.layers.AveragePooling2D(32)(keras.layers.Rescaling(1 / 127.5, offset=-1, name="scale")(pixels))
    first = keras.layers.Conv2D(8, 1, activation="relu", name="fine_one")
    wide = keras.layers.Conv2D(8, 1, name="wide_one")
    last = keras.layers.Conv2D(1, 1, name="logit_map")
    made = keras.Model(pixels, last(wide(first(cells))))
    kernel = rng.normal(0, 1, (1, 1, 8, 8))
    kernel[..., 0] *= 1000
    wide.set_weights([kernel, np.zeros(8)])
    weights = rng.normal(0, 1, (1, 1, 8, 1))
    weights[0, 0, 0] = 1e-3
    last.set_weights([weights, np.zeros(1)])
    return made


def _run(flatbuffer: bytes, image: Image) -> Any:
    interpreter = Interpreter(flatbuffer, threads=1, origin="tiny")
    interpreter.resize(1, *image.shape[:2])
    interpreter.input()[0] = image
    return interpreter.invoke()


def test_the_worst_layers_are_named_and_files_keep_them_in_floats(network: Any) -> None:
    layers = Int8Layers(network, head="logit-map", pictures=PICTURES_HERE, log=lambda _: None)
    worst = layers.errors()
    assert [layer.steps for layer in worst] == sorted((layer.steps for layer in worst), reverse=True)
    names = " ".join(layer.layer for layer in worst)
    assert "fine_one" in names
    assert "wide_one" in names
    assert worst[0].as_dict().keys() == {"layer", "operation", "rms", "steps"}

    image = picture(11, 256, 288)
    expected = np.asarray(network(image[None].astype(np.float32)))
    plain = convert(network, variant="int8", head="logit-map", pictures=PICTURES_HERE, log=lambda _: None)
    mixed = layers.in_floats([layer for layer in worst if layer.operation == "CONV_2D" and "fine" not in layer.layer])
    require_any_size(mixed, origin="mixed")
    off, still_off = (np.abs(_run(one, image) - expected).mean() for one in (plain, mixed))
    assert still_off < off / 2
    assert Interpreter(mixed, threads=1, origin="mixed").input_dtype == "uint8"


def _judged(flatbuffer: bytes, equal: float) -> Judged:
    return Judged(flatbuffer, {}, {}, {"tiles": {"a": Agreement(1000, equal, 0.1, None, None)}})


@pytest.mark.parametrize("good_after", [1, 2, 3, 4, 5])
def test_measure_follows_measure_until_the_decisions_hold(
    network: Any, good_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantisation, "FLOAT_LAYERS", (1, 2, 99))
    asked: list[int] = []
    made: list[bytes] = []

    def pictures(count: int) -> Sequence[Image]:
        asked.append(count)
        return PICTURES_HERE[: 2 if count == PICTURES[0] else 8]

    def judge(flatbuffer: bytes) -> Judged:
        made.append(flatbuffer)
        return _judged(flatbuffer, 1.0 if len(made) >= good_after else 0.5)

    done = quantise(network, head="logit-map", pictures=pictures, judge=judge, log=lambda _: None)
    expected = ["2 calibration pictures", "8 calibration pictures"]
    expected += [f"the {count} worst layers in floats" for count in (1, 2)]
    tried = min(good_after, len(expected))
    assert [one["measure"] for one in done.measures] == expected[:tried]
    assert [bool(one["faults"]) for one in done.measures] == [True] * (tried - 1) + [good_after > len(expected)]
    assert done.judged.flatbuffer == made[-1]
    assert len(made) == tried
    assert 1 <= len(done.worst_layers) <= 5
    assert (PICTURES[1] in asked) == (good_after > 1)
    assert done.wanted == PICTURES[good_after > 1]


def test_more_pictures_are_no_measure_where_there_are_none(network: Any) -> None:
    done = quantise(
        network,
        head="logit-map",
        pictures=lambda _: PICTURES_HERE[:4],
        judge=lambda flatbuffer: _judged(flatbuffer, 0.5),
        log=lambda _: None,
    )
    assert [one["measure"] for one in done.measures] == ["4 calibration pictures"], "and no layer is left but the worst"
    assert done.judged.faults
    assert done.wanted == PICTURES[0]
