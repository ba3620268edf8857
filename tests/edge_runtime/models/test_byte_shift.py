from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackedge.edge_runtime.models import golden
from crackedge.edge_runtime.models.byte_shift import without_byte_shift
from crackedge.edge_runtime.models.card import split_card
from crackedge.edge_runtime.models.interpreter import Interpreter
from crackedge.edge_runtime.models.model import Model, open_model, shipped_models


@functools.cache
def _nano() -> bytes:
    return open_model("nano").flatbuffer


@pytest.fixture(scope="module", params=shipped_models())
def shipped(request: pytest.FixtureRequest) -> Model:
    return open_model(request.param)


@pytest.mark.parametrize("size", [(1, 224, 224), (5, 224, 224), (1, 256, 352), (1, 224, 1920), (1, 736, 1280)])
def test_shipped_files_give_the_same_bits_without_it(shipped: Model, size: tuple[int, int, int]) -> None:
    shorter = without_byte_shift(shipped.flatbuffer)
    assert shorter is not None
    images = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    images[0, :16, :16] = np.arange(256).reshape(16, 16, 1)  # every byte there is
    outputs = []
    for flatbuffer, dtype in ((shipped.flatbuffer, np.uint8), (shorter, np.int8)):
        network = Interpreter(flatbuffer, threads=2, origin="shipped")
        assert network.input_dtype == dtype
        network.resize(*size)
        write, slots = network.pixel_writer(), network.input()
        for image, slot in zip(images, slots, strict=True):
            write(image, slot)
        del slot, slots
        outputs.append(network.invoke())
    assert np.array_equal(outputs[0], outputs[1])
    assert np.ptp(outputs[0]) > 0


def test_it_changes_three_numbers_and_not_the_file(shipped: Model) -> None:
    before = bytes(shipped.flatbuffer)
    shorter = without_byte_shift(shipped.flatbuffer)
    assert shorter is not None
    assert shipped.flatbuffer == before
    assert len(shorter) == len(before)
    differing = np.flatnonzero(np.frombuffer(shorter, np.uint8) != np.frombuffer(before, np.uint8))
    assert len({place // 4 for place in differing}) <= 4


def test_the_golden_vectors_are_met_without_it(shipped: Model) -> None:
    network = shipped.interpreter(threads=1)
    assert network.input_dtype == np.int8
    deviations = golden.compare(shipped.card, network, origin="shipped")
    assert deviations
    assert all(one.largest <= 2 for one in deviations)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("logit-map-float", {}),
        ("logit-map-int16", {}),
        ("classifier", {}),
        ("classifier", {"dtype": "int8"}),
        ("classifier", {"dtype": "float32", "white": 1.0}),
    ],
)
def test_other_networks_have_none(write_model: Callable[..., Path], kind: str, options: dict[str, object]) -> None:
    assert without_byte_shift(write_model(kind, **options).read_bytes()) is None


def test_a_requantisation_that_changes_the_scale_is_no_byte_shift(shipped: Model) -> None:
    flatbuffer = shipped.flatbuffer
    scale = np.float32(1 / 127.5).tobytes()
    assert scale in flatbuffer
    for stretched in (flatbuffer.replace(scale, np.float32(1 / 100).tobytes(), 1),):
        assert without_byte_shift(stretched) is None


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_file_never_does_more_than_have_none(data: st.DataObject) -> None:
    broken = bytearray(_nano())
    for _ in range(data.draw(st.integers(1, 8))):
        broken[data.draw(st.integers(0, 4000) | st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    without_byte_shift(bytes(broken[: data.draw(st.integers(0, len(broken)))]))


def test_nothing_at_all_has_none() -> None:
    assert without_byte_shift(b"") is None
    assert without_byte_shift(bytes(64)) is None


def test_the_tiny_network_says_whether_it_has_one(tiny_model: Path) -> None:
    flatbuffer = split_card(tiny_model.read_bytes(), origin="tiny")[0]
    shorter = without_byte_shift(flatbuffer)
    assert shorter is None or Interpreter(shorter, threads=1, origin="tiny").input_dtype == np.int8
