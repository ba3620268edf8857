from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crackedge.benchmarks.cold import STAGES, start_to_first_result
from crackedge.benchmarks.footage import FootageStore
from crackedge.benchmarks.restarts import Setup, cardless_words, measure_in_child, run_module
from crackedge.edge_runtime.errors import ModelError, OptionError
from crackedge.edge_runtime.models.model import open_model


@pytest.fixture(scope="module")
def store() -> Iterator[FootageStore]:
    with FootageStore() as made:
        yield made


@pytest.fixture
def setup(tiny_model: Path, store: FootageStore) -> Setup:
    footage, frames = store.take((320, 240))
    return Setup(
        model=str(tiny_model),
        frames=frames,
        clip=str(footage.clip),
        source=footage.source,
        scenarios=("tile", "null"),
        duration_s=0.05,
        threads=1,
    )


def test_a_child_measures_what_it_is_told(setup: Setup, store: FootageStore) -> None:
    found = measure_in_child(setup, store.folder)
    assert list(found["scenarios"]) == ["tile", "null"]
    assert found["plan"]["threads"] == 1
    assert len(found["scenarios"]["tile"]["samples_ms"]) >= 3


def test_an_error_of_the_child_is_raised_here(setup: Setup, store: FootageStore) -> None:
    with pytest.raises(OptionError, match="stride 100"):
        measure_in_child(dataclasses.replace(setup, stride=100), store.folder)
    with pytest.raises(ModelError, match=r"absent\.tflite"):
        measure_in_child(dataclasses.replace(setup, model="absent.tflite"), store.folder)


def test_a_child_that_dies_is_said_to_have_died(setup: Setup, store: FootageStore) -> None:
    with pytest.raises(ModelError, match=r"ended with exit code 1, and said: .*No such file"):
        measure_in_child(dataclasses.replace(setup, frames="absent.npy"), store.folder)


def test_a_child_that_the_system_kills_is_said_to_lack_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dies.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ModelError, match="signal 9, probably for lack of memory"):
        run_module("dies", [])


def test_a_start_is_timed_from_outside_to_the_first_result(setup: Setup, store: FootageStore) -> None:
    found = start_to_first_result(setup, store.folder)
    assert tuple(found) == ("total", *STAGES)
    assert all(ms > 0 for ms in found.values())
    assert found["total"] == pytest.approx(sum(found[stage] for stage in STAGES))


def test_a_start_that_fails_says_why(setup: Setup, store: FootageStore) -> None:
    with pytest.raises(ModelError, match=r"absent\.tflite"):
        start_to_first_result(dataclasses.replace(setup, model="absent.tflite"), store.folder)


def test_what_the_clock_of_a_start_covers_imports_nothing_heavy_before() -> None:
    code = "import crackedge.benchmarks.cold, sys; print([m for m in ('numpy', 'cv2', 'av') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_model_without_a_card_is_opened_again_as_it_was(
    write_model: Callable[..., Path], store: FootageStore, setup: Setup
) -> None:
    path = write_model("classifier", dtype="float32", columns=2, crack_index=0, white=1.0)
    model = open_model(path, input_range="0..1", crack_index=0)
    words = cardless_words(model)
    assert words == {"input_range": "0..1", "crack_index": 0}
    given = dataclasses.replace(setup, model=str(path), scenarios=("frame",), **words)
    assert json.dumps(measure_in_child(given, store.folder)["plan"]["engine"]) == '"tiles"'
    assert start_to_first_result(given, store.folder)["total"] > 0


def test_a_card_needs_no_words(tiny_model: Path) -> None:
    assert cardless_words(open_model(tiny_model)) == {"input_range": None, "crack_index": None}
