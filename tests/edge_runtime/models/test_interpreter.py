from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackedge.edge_runtime.errors import ModelError, OptionError
from crackedge.edge_runtime.models import interpreter as interpreter_module
from crackedge.edge_runtime.models.card import split_card
from crackedge.edge_runtime.models.interpreter import Interpreter, check_threads, default_threads


@pytest.fixture(scope="module")
def flatbuffer(tiny_model: Path) -> bytes:
    return split_card(tiny_model.read_bytes(), origin="tiny")[0]


@pytest.fixture
def fresh_search() -> Iterator[None]:
    interpreter_module.find_runtime.cache_clear()
    yield
    interpreter_module.find_runtime.cache_clear()


def test_int8_logits_come_back_as_numbers(flatbuffer: bytes) -> None:
    network = Interpreter(flatbuffer, threads=1, origin="tiny")
    assert network.input_dtype == np.uint8
    assert network.output_is_map
    network.resize(1, 224, 224)
    image = network.input()
    image[:] = 255
    image[0, :32, :64] = 0
    del image
    logits = network.invoke()
    assert logits.shape == (1, 7, 7, 1)
    assert logits.dtype == np.float32
    assert logits[0, 0, :2, 0] == pytest.approx([6, 6], abs=0.1)
    assert logits[0, 1:, :, 0] == pytest.approx(-6, abs=0.1)


@pytest.mark.parametrize("size", [(1, 224, 224), (3, 224, 224), (1, 256, 320), (1, 1088, 1920)])
def test_any_size_on_the_lattice_and_any_batch(flatbuffer: bytes, size: tuple[int, int, int]) -> None:
    network = Interpreter(flatbuffer, threads=1, origin="tiny")
    network.resize(1, 224, 224)
    network.resize(*size)
    network.input()[:] = 0
    assert network.invoke().shape == (size[0], size[1] // 32, size[2] // 32, 1)


def test_the_same_size_again_does_nothing(flatbuffer: bytes) -> None:
    network = Interpreter(flatbuffer, threads=1, origin="tiny")
    network.resize(1, 224, 224)
    image = network.input()
    network.resize(1, 224, 224)
    with pytest.raises(ModelError, match="reference to internal data"):
        network.resize(2, 224, 224)
    assert image.shape == (1, 224, 224, 3)


def test_it_says_which_package_runs(flatbuffer: bytes) -> None:
    name, version = Interpreter(flatbuffer, threads=1, origin="tiny").runtime.split(" ")
    assert name in {"ai-edge-litert", "tflite-runtime", "tensorflow"}
    assert version[0].isdigit()


def test_the_next_package_serves_where_litert_is_absent(
    flatbuffer: bytes, monkeypatch: pytest.MonkeyPatch, fresh_search: None
) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    stand_in = types.ModuleType("tflite_runtime.interpreter")
    stand_in.Interpreter = litert.Interpreter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime", types.ModuleType("tflite_runtime"))
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", stand_in)
    assert Interpreter(flatbuffer, threads=1, origin="tiny").runtime.startswith("tflite-runtime ")


def test_no_interpreter_at_all_says_what_to_install(
    flatbuffer: bytes, monkeypatch: pytest.MonkeyPatch, fresh_search: None
) -> None:
    for _, module in interpreter_module._PACKAGES:
        monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.setitem(sys.modules, module.partition(".")[0], None)
    with pytest.raises(ModelError, match=r"no TFLite interpreter on this machine; pip install ai-edge-litert \("):
        Interpreter(flatbuffer, threads=1, origin="tiny")


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\x89PNG\r\n\x1a\n" + bytes(100), b"PK\x03\x04" + bytes(50)])
def test_a_foreign_file_is_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match=r"^photo\.tflite: not a TFLite file \(\d+ bytes, .*give a \.tflite model$"):
        Interpreter(data, threads=1, origin="photo.tflite")


@settings(max_examples=50)
@given(keep=st.floats(0, 0.9999))
def test_a_flatbuffer_cut_anywhere_is_refused_in_one_line(flatbuffer: bytes, keep: float) -> None:
    with pytest.raises(ModelError, match=r"^cut: ") as caught:
        Interpreter(flatbuffer[: int(len(flatbuffer) * keep)], threads=1, origin="cut")
    assert "\n" not in str(caught.value)


def test_a_size_that_the_network_does_not_take_is_refused_and_it_runs_on(write_model: Callable[..., Path]) -> None:
    network = Interpreter(write_model("classifier", baked_batch=True).read_bytes(), threads=1, origin="baked")
    network.resize(1, 224, 224)
    with pytest.raises(ModelError, match=r"^baked: does not take an input of shape \(4, 224, 224, 3\) \(.*\)$"):
        network.resize(4, 224, 224)
    network.resize(1, 224, 224)
    network.input()[:] = 0
    assert network.invoke() == pytest.approx(1, abs=0.01)


def test_values_that_are_no_numbers_are_not_taken_for_no_crack(network_of_infinity: bytes) -> None:
    network = Interpreter(network_of_infinity, threads=1, origin="inf")
    network.resize(1, 224, 224)
    network.input()[:] = 0
    with pytest.raises(ModelError, match="inf: the network gave values that are not numbers"):
        network.invoke()


def test_threads() -> None:
    assert 1 <= default_threads() <= 4
    assert check_threads(None) == default_threads()
    assert check_threads(7) == 7
    with pytest.raises(OptionError, match="threads 0: expected at least 1"):
        check_threads(0)


def test_default_threads_keep_to_the_processors_that_the_process_may_use() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("no processor affinity on this system")
    code = """
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        from crackedge.edge_runtime.models.interpreter import default_threads
        print(default_threads())
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert ran.stdout == "1\n"
