from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("keras", reason="the workstation's packages are not installed")

import keras

from crackedge.edge_runtime.errors import DataError, OptionError, OutputError
from crackedge.train import fit as fit_module
from crackedge.train.batches import CanvasBatches, draw_canvas
from crackedge.train.corpus import gather
from crackedge.train.fit import fit
from crackedge.train.network import MapLoss, build_network, window_means
from crackedge.train.recipe import Recipe, load_recipe

Crackedge = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_run_folder_holds_the_network_and_how_it_came_about(trained_run: Path) -> None:
    config = json.loads((trained_run / "config.json").read_text())
    assert {one["name"] for one in config["sets"]} == {"tiles", "masked", "boxed"}
    assert config["recipe"]["steps_per_epoch"] == 2
    assert {key: config["training"][key] for key in ("epochs", "steps", "batch")} == {
        "epochs": 2,
        "steps": 4,
        "batch": 2,
    }
    assert config["lineage"] == {"models": [], "data_sets": []}
    assert config["onednn"] == os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1")
    history = [json.loads(line) for line in (trained_run / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in history] == [1, 2]
    assert all(np.isfinite(line["loss"]) for line in history)
    assert set(json.loads((trained_run / "metrics.json").read_text())) == {"tiles", "masked", "boxed"}
    assert (trained_run / "curves.png").stat().st_size > 1000
    assert (trained_run / "model.keras").is_file()


def test_the_mean_of_the_logit_map_is_the_pooled_head() -> None:
    network = build_network(load_recipe("nano"), weights=None)
    features = keras.Sequential([network.get_layer("scale"), network.get_layer("backbone")])
    head = network.get_layer("logit_map")
    tile = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3)).astype(np.float32)
    kernel, bias = (np.asarray(weight) for weight in head.get_weights())
    pooled = np.asarray(features(tile)).mean((1, 2)) @ kernel[0, 0] + bias
    assert network.predict_on_batch(tile).mean((1, 2)) == pytest.approx(pooled, abs=1e-4)


def test_the_loss_is_what_it_says() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(1, 14, 14, 2)).astype(np.float32)
    truth = np.zeros((1, 14, 14, 4), np.float32)
    truth[0, 0, 7] = (1, 0.25, 0, 0)
    truth[0, 3, 3] = (0, 0.75, 1, 1)
    window = {(0, 7): logits[0, 0:7, 7:14, 0].mean(), (3, 3): logits[0, 3:10, 3:10, 0].mean()}
    cell = logits[0, 3, 3, 1]
    expected = 0.25 * np.log1p(np.exp(-window[0, 7])) + 0.75 * np.log1p(np.exp(window[3, 3]))
    expected += 0.5 * np.log1p(np.exp(-cell))
    assert float(MapLoss(cell_share=0.5)(truth, logits)) == pytest.approx(expected, rel=1e-5)
    assert np.asarray(window_means(logits[..., :1])).shape == (1, 8, 8, 1)


def test_the_same_seed_draws_the_same_canvases(photographs: Path) -> None:
    recipe = load_recipe("nano", batch=2, steps_per_epoch=2)
    corpus = gather(photographs, recipe)
    first, second = (CanvasBatches(corpus, recipe)[1] for _ in range(2))
    assert (first[0] == second[0]).all()
    assert (first[1] == second[1]).all()
    assert (CanvasBatches(corpus, recipe, epoch=1)[1][0] != first[0]).any()
    assert first[0].shape == (2, 448, 448, 3)
    assert first[1].shape == (2, 14, 14, 4)


def test_a_broken_photograph_is_passed_over_and_named(photographs: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(photographs / "tiles", root / "tiles")
    broken = root / "tiles" / "train" / "crack" / "0.png"
    broken.write_bytes(b"not an image")
    recipe = load_recipe("nano")
    corpus = gather(root, recipe)
    rng = np.random.default_rng(0)
    for _ in range(30):
        draw_canvas(corpus, recipe, rng)
    assert list(corpus.skipped) == [str(broken)]


def test_one_class_is_refused_in_one_line(photographs: Path, tmp_path: Path, crackedge: Crackedge) -> None:
    shutil.copytree(photographs / "tiles" / "train" / "crack", tmp_path / "one" / "train" / "crack")
    with pytest.raises(DataError, match="no_crack"):
        gather(tmp_path, load_recipe("nano"))
    done = crackedge("train", "--data-root", str(tmp_path), "--weights", "none", "-o", str(tmp_path / "run"))
    assert done.returncode == 1
    assert "no_crack" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_is_never_overwritten_and_that_is_said_first(trained_run: Path, photographs: Path) -> None:
    before = (trained_run / "model.keras").read_bytes()
    with pytest.raises(OutputError, match="not empty"):
        fit(photographs / "nowhere", trained_run, load_recipe("nano"))
    assert (trained_run / "model.keras").read_bytes() == before


def test_weights_that_are_not_there_are_named(photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"nowhere\.h5"):
        fit(photographs, tmp_path / "run", load_recipe("nano"), weights="nowhere.h5")
    assert not (tmp_path / "run").exists()


def test_training_goes_on_from_an_earlier_run(trained_run: Path, tmp_path: Path) -> None:
    earlier = build_network(load_recipe("nano"), weights=trained_run / "model.keras")
    assert earlier.output_shape == (None, None, None, 1)
    with pytest.raises(OptionError, match=r"mobilenetv2_1"):
        build_network(load_recipe("nano", alpha=1.0), weights=trained_run / "model.keras")
    (tmp_path / "broken.keras").write_bytes(b"no archive")
    with pytest.raises(OptionError, match=r"broken\.keras"):
        build_network(load_recipe("nano"), weights=tmp_path / "broken.keras")


class Greedy(keras.layers.Layer):  # type: ignore[misc]
    """Takes more memory than any device has."""

    def call(self, logits: Any) -> Any:
        return logits + keras.ops.max(keras.ops.broadcast_to(keras.ops.sum(logits)[None], (1 << 45,)))


def test_a_batch_that_memory_does_not_hold_ends_in_one_line(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mean_of_cells: Callable[..., keras.Model]
) -> None:
    def greedy(recipe: Recipe, *, weights: str | None) -> keras.Model:
        network = mean_of_cells(recipe, weights=weights)
        return keras.Model(network.input, Greedy()(network.output), name=network.name)

    monkeypatch.setattr(fit_module, "build_network", greedy)
    recipe = load_recipe("nano", epochs=1, head_epochs=0, steps_per_epoch=1, batch=2)
    with pytest.raises(OptionError, match=r"^batch = 2: more than the memory of this device holds; give a smaller"):
        fit(photographs, tmp_path / "run", recipe)
