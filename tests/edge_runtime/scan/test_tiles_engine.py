from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crackedge.edge_runtime.errors import ModelError, OptionError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.models.model import Model, open_model
from crackedge.edge_runtime.scan.engine import make_engine
from crackedge.edge_runtime.scan.tiles_engine import TilesEngine


@pytest.fixture(scope="module")
def nano() -> Model:
    return open_model("nano")


def grain(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("interpreters", "threads", "batch"), [(1, 2, 8), (2, 1, 1), (2, 1, 4), (3, 2, 5), (40, 1, 8)])
@pytest.mark.parametrize("size", [(500, 610), (100, 90)])
def test_no_way_of_sharing_the_work_changes_a_bit(
    nano: Model, interpreters: int, threads: int, batch: int, size: tuple[int, int]
) -> None:
    image = grain(*size)
    expected = TilesEngine(nano, threads=1, batch=1)(image)
    found = TilesEngine(nano, threads=threads, interpreters=interpreters, batch=batch)(image)
    assert np.array_equal(found.cell_logits, expected.cell_logits)
    assert np.array_equal(found.window_scores, expected.window_scores)


def test_float_networks_give_the_same_bits_too(context_model: Path) -> None:
    model = open_model(context_model)
    image = grain(500, 610)
    expected = TilesEngine(model, threads=1, batch=1)(image).cell_logits
    assert np.array_equal(TilesEngine(model, threads=1, interpreters=2, batch=3)(image).cell_logits, expected)


def test_a_baked_batch_is_shared_tile_by_tile(write_model: Callable[..., Path]) -> None:
    model = open_model(write_model("classifier", baked_batch=True))
    image = grain(400, 600)
    expected = TilesEngine(model, threads=1, batch=1)(image).window_logits
    assert np.array_equal(TilesEngine(model, threads=1, interpreters=2)(image).window_logits, expected)


def test_frames_of_changing_size_are_shared_anew(nano: Model) -> None:
    scan = TilesEngine(nano, threads=1, interpreters=2, batch=4)
    for height, width in ((300, 700), (224, 224), (1, 900), (500, 300)):
        image = grain(height, width)
        assert np.array_equal(scan(image).cell_logits, TilesEngine(nano, threads=2)(image).cell_logits)


def test_what_fails_in_one_of_several_threads_is_said(write_model: Callable[..., Path]) -> None:
    model = open_model(write_model("classifier", columns=2, logits=True), crack_index=1)
    with pytest.raises(ModelError, match="is no probability"):
        TilesEngine(model, threads=1, interpreters=2)(grain(500, 500))


def test_an_interpreter_that_fails_ends_the_scan(nano: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = TilesEngine(nano, threads=1, interpreters=2, batch=2)

    def fails() -> None:
        raise ModelError("the network failed")

    monkeypatch.setattr(scan._networks[1], "invoke", fails)
    with pytest.raises(ModelError, match="the network failed"):
        scan(grain(500, 500))


def test_options_that_cannot_be_used(nano: Model) -> None:
    for name in ("interpreters", "batch"):
        with pytest.raises(OptionError, match=f"{name} 0: expected at least 1"):
            make_engine(nano, engine="tiles", **{name: 0})
        with pytest.raises(OptionError, match=f"{name} 2: engine 'dense' scans with one"):
            make_engine(nano, engine="dense", **{name: 2})
