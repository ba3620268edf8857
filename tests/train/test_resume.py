"""Runs that are cut off, and what becomes of them. As a program, this file is the run that gets killed."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("keras", reason="the workstation's packages are not installed")

import keras
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from crackedge.cli import main
from crackedge.edge_runtime.errors import DataError, OptionError, OutputError
from crackedge.train import charts, checkpoint
from crackedge.train import fit as fit_module
from crackedge.train.batches import CanvasBatches
from crackedge.train.checkpoint import Checkpoint
from crackedge.train.corpus import gather
from crackedge.train.errors import TrainingError, TrainingStopped
from crackedge.train.fit import fit, resume
from crackedge.train.normalisation import take_statistics
from crackedge.train.phases import Phase, best_epoch, is_over
from crackedge.train.recipe import Recipe, SetUse, load_recipe
from crackedge.train.watch import Progress

Crackedge = Callable[..., "subprocess.CompletedProcess[str]"]

RECIPE = {"canvas_px": 224, "batch": 2, "steps_per_epoch": 3, "head_epochs": 1, "epochs": 2, "ema": 0.9}
SHORT = {**RECIPE, "head_epochs": 0}  # one phase, two epochs


class Crash(BaseException):
    """What nobody catches."""


def small_network(recipe: Recipe, *, weights: str | None) -> keras.Model:
    """A network in the form of ours, with all that has a state: normalisation, dropout, a frozen part."""
    del weights
    features = keras.Input((None, None, 3))
    grown = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(features)
    grown = keras.layers.ReLU()(keras.layers.BatchNormalization()(grown))
    grown = keras.layers.Dropout(0.2)(keras.layers.AveragePooling2D(16)(grown))
    pixels = keras.Input((None, None, 3), name="pixels")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1, name="scale")(pixels)
    seen = keras.Model(features, grown, name="backbone")(scaled)
    return keras.Model(pixels, keras.layers.Conv2D(1, 1, dtype="float32", name="logit_map")(seen), name=recipe.name)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "build_network", small_network)
    monkeypatch.setattr(charts, "save", blank)


def blank(file: Any, *_: Any, **__: Any) -> None:
    """In place of the charts, half of a small run's time; `undisturbed` and the command draw them."""
    if isinstance(file, Path):
        file.touch()


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("nano", **RECIPE, learning_rate=0.01)


@pytest.fixture(scope="module")
def short() -> Recipe:
    return load_recipe("nano", **SHORT, learning_rate=0.01)


@pytest.fixture(scope="module")
def tiles(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small")
    shutil.copytree(photographs / "tiles", root / "tiles")
    return root


@pytest.fixture(scope="module")
def undisturbed(tiles: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; beside it, as `cut-STEP`, what a cut at some of its steps leaves: all that is on disk by then."""
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"

    def report(progress: Progress) -> None:
        # The last step is shown once more with the line of its epoch, when the epoch is kept.
        if progress.step in (2, 4, 8) or progress.epoch_line is not None:
            shutil.copytree(folder, folder.with_name(f"cut-{progress.step}"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_module, "build_network", small_network)
        fit(tiles, folder, recipe, report=report)
    return folder


@pytest.fixture
def cut_at(undisturbed: Path, tmp_path: Path) -> Callable[[int], Path]:
    """``cut_at(step)``: a run folder of one's own that was cut off there; in the last step, with its epoch kept."""
    return lambda step: shutil.copytree(undisturbed.with_name(f"cut-{step}"), tmp_path / "cut")


@pytest.fixture(scope="module")
def short_and_cut(tiles: Path, short: Recipe, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that fell over in its second epoch; the weights that it began with are gone."""
    folder = tmp_path_factory.mktemp("short")
    weights = Path(shutil.copy(tiny_model, folder / "first.tflite"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_module, "build_network", small_network)
        with pytest.raises(Crash):
            fit(tiles, folder / "run", short, weights=weights, report=at_step(4, crash))
    weights.unlink()
    return folder / "run"


@pytest.fixture
def short_cut(short_and_cut: Path, tmp_path: Path) -> Path:
    """The same, to work on."""
    return shutil.copytree(short_and_cut, tmp_path / "run")


def weights_of(folder: Path) -> list[npt.NDArray[np.float32]]:
    weights: list[npt.NDArray[np.float32]] = keras.models.load_model(
        folder / "model.keras", compile=False
    ).get_weights()
    return weights


def history_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def difference(one: Path, other: Path) -> float:
    """The largest difference of two runs' weights."""
    return max(float(np.abs(a - b).max()) for a, b in zip(weights_of(one), weights_of(other), strict=True))


def at_step(step: int, action: Callable[[], None]) -> Callable[[Progress], None]:
    """Something that happens during a run, after a step of it."""

    def report(progress: Progress) -> None:
        if progress.step == step and progress.epoch_line is None:
            action()

    return report


def crash() -> None:
    raise Crash


def test_what_is_kept_has_the_statistics_of_its_weights(undisturbed: Path, tiles: Path, recipe: Recipe) -> None:
    """And not moving averages that, after nine steps, are still nine tenths of what they began with."""
    network = keras.models.load_model(undisturbed / "model.keras", compile=False)
    norm = network.get_layer("backbone").layers[2]
    kept = [np.asarray(norm.moving_mean), np.asarray(norm.moving_variance)]
    batches = CanvasBatches(gather(tiles, recipe), recipe, epoch=2)
    take_statistics(network, [batches[index][0] for index in range(3)])  # those of the last epoch
    assert np.asarray(norm.moving_mean) == pytest.approx(kept[0], rel=1e-3, abs=1e-6)
    assert np.asarray(norm.moving_variance) == pytest.approx(kept[1], rel=1e-3)
    assert kept[1].max() < 0.5  # it began as 1


@pytest.mark.parametrize("step", [2, 4])  # before there is a checkpoint, and between the phases
def test_a_run_that_crashed_ends_as_one_that_did_not(
    undisturbed: Path, cut_at: Callable[[int], Path], step: int
) -> None:
    folder = cut_at(step)
    steps: list[int] = []
    resume(folder, report=lambda progress: steps.append(progress.step))
    assert steps[0] == 3 * (step // 3) + 1
    assert difference(folder, undisturbed) < 1e-4
    assert [line["loss"] for line in history_of(folder)] == pytest.approx(
        [line["loss"] for line in history_of(undisturbed)], abs=1e-4
    )
    assert json.loads((folder / "metrics.json").read_text()).keys() == {"tiles"}


def test_so_does_one_that_was_killed(undisturbed: Path, tiles: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    done = subprocess.run([sys.executable, __file__, tiles, folder, "whole", "8"], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (folder / "metrics.json").exists()
    resume(folder)
    assert difference(folder, undisturbed) < 1e-4


@pytest.mark.slow
@pytest.mark.skipif(find_spec("jax") is None, reason="JAX is not installed")
def test_so_does_one_on_jax(tiles: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    assert run_on_jax(tiles, folder, "short", "4").returncode == -signal.SIGKILL
    done = run_on_jax(tiles, folder, "short", "resume")
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "config.json").read_text())["tools"]["backend"] == "jax"
    assert difference(folder, tmp_path / "cut-not") < 1e-4


def run_on_jax(tiles: Path, folder: Path, kind: str, step: str, **environment: str) -> subprocess.CompletedProcess[str]:
    compiled_once = {
        "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    environment = {**os.environ, "KERAS_BACKEND": "jax", **compiled_once, **environment}
    command = [sys.executable, __file__, str(tiles), str(folder), kind, step]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


def test_going_back_is_deleting_the_last_checkpoint(undisturbed: Path, cut_at: Callable[[int], Path]) -> None:
    folder = cut_at(8)
    (folder / "checkpoints" / "epoch-0002.npz").unlink()
    resume(folder)
    assert [line["epoch"] for line in history_of(folder)] == [1, 2, 3]
    assert difference(folder, undisturbed) < 1e-4


def test_a_run_that_crashed_after_its_last_epoch_is_finished(undisturbed: Path, cut_at: Callable[[int], Path]) -> None:
    folder = cut_at(9)
    assert not (folder / "metrics.json").exists()
    assert resume(folder).epochs == 3
    assert difference(folder, undisturbed) < 1e-4


def test_the_weights_that_a_run_began_with_may_be_gone_and_its_photographs_moved(
    tiles: Path, short_cut: Path, tmp_path: Path
) -> None:
    assert not Path(json.loads((short_cut / "config.json").read_text())["weights_from"]).exists()
    with pytest.raises(DataError, match="no such folder"):
        resume(short_cut, data_root=tmp_path / "elsewhere")
    assert resume(short_cut, data_root=shutil.copytree(tiles, tmp_path / "data")).epochs == 2


def test_before_the_first_checkpoint_the_weights_are_those_that_it_began_with(
    tiles: Path, short: Recipe, tiny_model: Path, tmp_path: Path
) -> None:
    weights = Path(shutil.copy(tiny_model, tmp_path / "first.tflite"))
    with pytest.raises(Crash):
        fit(tiles, tmp_path / "run", short, weights=weights, report=at_step(1, crash))
    weights.write_bytes(weights.read_bytes() + b"more")
    with pytest.raises(
        DataError, match=r"first\.tflite: not the weights that the run began with; put them back"
    ) as caught:
        resume(tmp_path / "run")
    assert "\n" not in str(caught.value)
    shutil.copy(tiny_model, weights)
    assert resume(tmp_path / "run").epochs == 2


def test_only_the_last_checkpoints_are_kept(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for epochs in range(1, 6):
        checkpoint.save(tmp_path, Checkpoint([{}] * epochs, [np.arange(9.0)], [], []))
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["epoch-0003.npz", "epoch-0004.npz", "epoch-0005.npz"]


def test_a_damaged_checkpoint_is_named(short_cut: Path) -> None:
    path = short_cut / "checkpoints" / "epoch-0001.npz"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"epoch-0001\.npz.*delete it to go on from the one before"):
        resume(short_cut)


def test_a_run_that_has_ended_is_not_resumed(undisturbed: Path, crackedge: Crackedge) -> None:
    with pytest.raises(OptionError, match=r"come to its end.*--weights .*model\.keras"):
        resume(undisturbed)
    done = crackedge("train", "--resume", str(undisturbed), "--epochs", "4", "--data-root", "elsewhere")
    assert done.returncode == 2
    assert "leave out --epochs" in done.stderr
    done = crackedge("train", "--weights", "none")
    assert done.returncode == 2
    assert "--data-root" in done.stderr


def test_what_is_no_run_is_not_resumed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not the folder of a training run"):
        resume(tmp_path)


@pytest.mark.parametrize(("number", "words"), [(5, "tiles: 12 photographs, now 11"), (6, "tiles: 12 photographs of")])
def test_changed_data_are_refused(tiles: Path, short_cut: Path, tmp_path: Path, number: int, words: str) -> None:
    root = shutil.copytree(tiles, tmp_path / "data")
    first = root / "tiles" / "train" / "crack" / "0.png"
    first.unlink() if number == 5 else first.rename(first.with_name("renamed.png"))
    before = {path: path.stat().st_mtime_ns for path in short_cut.rglob("*")}
    with pytest.raises(DataError, match=words):
        resume(short_cut, data_root=root)
    assert {path: path.stat().st_mtime_ns for path in short_cut.rglob("*")} == before


def test_photographs_that_vanish_are_passed_over_and_named(tiles: Path, short: Recipe, tmp_path: Path) -> None:
    root, folder = tmp_path / "data", tmp_path / "run"
    shutil.copytree(tiles, root)
    gone = [root / "tiles" / split / "crack" / f"{number}.png" for split in ("train", "val") for number in range(3)]

    def vanish() -> None:
        for path in gone:
            path.unlink()

    trained = fit(root, folder, short, report=at_step(1, vanish))
    assert trained.skipped
    assert set(trained.skipped) <= {str(path) for path in gone}
    assert str(gone[-1]) in trained.skipped
    assert json.loads((folder / "config.json").read_text())["skipped_files"] == dict(trained.skipped)


@pytest.mark.parametrize("split", ["train", "val"])
def test_too_many_that_vanish_end_the_run(tiles: Path, short: Recipe, tmp_path: Path, split: str) -> None:
    root, folder = tmp_path / "data", tmp_path / "run"
    shutil.copytree(tiles, root)
    with pytest.raises(
        DataError, match=r"could not be read.*1 of 2 epochs are kept.*crackedge train --resume"
    ) as caught:
        fit(root, folder, short, report=at_step(4, lambda: shutil.rmtree(root / "tiles" / split)))
    assert "\n" not in str(caught.value)
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["epoch-0001.npz"]


def test_a_loss_that_is_no_number_keeps_the_last_epoch(tiles: Path, tmp_path: Path) -> None:
    wild = load_recipe("nano", **RECIPE, learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"loss is \S+ in epoch 2; start anew from epoch 1.*smaller learning_rate"):
        fit(tiles, tmp_path / "run", wild)
    assert all(np.isfinite(array).all() for array in weights_of(tmp_path / "run"))
    assert len(history_of(tmp_path / "run")) == 1


@pytest.fixture
def small_disk() -> Iterator[Callable[[], None]]:
    """Call it, and no file can grow beyond 1 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_the_run_with_the_last_epoch_kept(
    undisturbed: Path, cut_at: Callable[[int], Path], small_disk: Callable[[], None]
) -> None:
    folder = cut_at(4)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(
        OutputError, match=r"model\.keras: cannot be written.*1 of 3 epochs are kept.*--resume"
    ) as caught:
        resume(folder, report=at_step(5, small_disk))
    assert "\n" not in str(caught.value)
    assert not list(folder.rglob("*.part*"))
    assert len(history_of(folder)) == 1
    weights_of(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    resume(folder)
    assert difference(folder, undisturbed) < 1e-4


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(tmp_path: Path, small_disk: Callable[[], None]) -> None:
    (tmp_path / "checkpoints").mkdir()
    first = Checkpoint([{"epoch": 1}], [np.arange(1000.0)], [], [])
    checkpoint.save(tmp_path, first)
    small_disk()
    with pytest.raises(OutputError, match=r"epoch-0002\.npz: cannot be written"):
        checkpoint.save(tmp_path, replace(first, history=[{"epoch": 1}, {"epoch": 2}]))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["epoch-0001.npz"]
    last = checkpoint.load(tmp_path)
    assert last is not None
    assert (last.model[0] == first.model[0]).all()


def test_a_run_stops_when_asked(tiles: Path, short: Recipe, tmp_path: Path) -> None:
    steps: list[int] = []
    with pytest.raises(
        TrainingStopped, match="stopped in epoch 2; 1 of 2 epochs are kept, go on with: crackedge train"
    ):
        fit(
            tiles,
            tmp_path / "run",
            short,
            report=lambda progress: steps.append(progress.step),
            stop=lambda: steps[-1:] == [5],
        )
    assert steps[-1] == 5


def test_the_moving_average_is_what_is_kept(tiles: Path, tmp_path: Path) -> None:
    kept = {}
    for ema in (0.0, 1e-6, 0.9):
        recipe = load_recipe("nano", **{**SHORT, "ema": ema}, learning_rate=0.01)
        fit(tiles, tmp_path / f"run_{ema}", recipe)
        kept[ema] = weights_of(tmp_path / f"run_{ema}")[-2]
    keras.utils.set_random_seed(recipe.seed)
    start = small_network(recipe, weights=None).get_weights()[-2]
    assert kept[1e-6] == pytest.approx(kept[0.0], abs=1e-6)
    assert 0 < np.linalg.norm(kept[0.9] - start) < 0.8 * np.linalg.norm(kept[0.0] - start)


def test_with_patience_the_best_epoch_is_kept(tiles: Path, tmp_path: Path) -> None:
    restless = load_recipe(
        "nano", **{**RECIPE, "epochs": 8, "ema": 0.0}, learning_rate=0.3, schedule="constant", patience=2
    )
    folder = tmp_path / "run"
    trained = fit(tiles, folder, restless)
    history = history_of(folder)
    best = min(line["val_loss"] for line in history)
    assert trained.epochs == len(history) < 9
    assert best < history[-1]["val_loss"]
    assert json.loads((folder / "metrics.json").read_text())["tiles"]["log_loss"] == pytest.approx(best, abs=1e-4)
    (scores,) = trained.scores
    assert len(scores.logits) == len(scores.entries) == len(scores.labels) == 12


@pytest.mark.parametrize("data", [{"only_looked_at": SetUse(weight=0)}, {}])
def test_patience_needs_a_validation_loss_of_what_is_trained_on(
    tiles: Path, tmp_path: Path, data: dict[str, SetUse]
) -> None:
    shutil.copytree(tiles / "tiles" / "train", tmp_path / "data" / "tiles" / "train")
    shutil.copytree(tiles / "tiles" / "val", tmp_path / "data" / "only_looked_at" / "val")
    recipe = replace(load_recipe("nano", **RECIPE, patience=2), data=data)
    with pytest.raises(DataError, match="patience = 2 needs a validation loss"):
        fit(tmp_path / "data", tmp_path / "run", recipe)
    assert not (tmp_path / "run").exists()


def test_what_is_only_looked_at_has_no_say_in_the_validation_loss(tiles: Path, short: Recipe, tmp_path: Path) -> None:
    root = Path(shutil.copytree(tiles, tmp_path / "data"))
    shutil.copytree(tiles / "tiles" / "val" / "crack", root / "only_looked_at" / "val" / "crack")
    fit(root, tmp_path / "run", short)
    for line in history_of(tmp_path / "run"):
        assert line["val"].keys() == {"only_looked_at", "tiles"}
        assert line["val_loss"] == line["val"]["tiles"]["log_loss"]


def test_so_it_needs_windows_that_count(tiles: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(tiles / "tiles" / "train", root / "tiles" / "train")
    image, mask = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8), np.zeros((224, 224), np.uint8)
    mask[100, 100:110] = 255  # too few pixels for a crack, too many for none
    for name, pixels in (("images", image), ("masks", mask)):
        (root / "tiles" / "val" / name).mkdir(parents=True)
        assert cv2.imwrite(str(root / "tiles" / "val" / name / "0.png"), pixels)
    with pytest.raises(DataError, match=r"has a window that counts, and patience = 2 needs a validation loss"):
        fit(root, tmp_path / "run", load_recipe("nano", **SHORT, patience=2))


def test_patience_counts_from_a_phase_s_first_epoch() -> None:
    recipe = load_recipe("nano", head_epochs=5, epochs=5, patience=2)
    head, whole = Phase("head", 5), Phase("whole", 5)
    losses = [("head", 0.5), ("head", 0.6), ("head", 0.7), ("whole", 0.9), ("whole", 0.8)]
    history = [{"phase": phase, "val_loss": loss} for phase, loss in losses]
    assert best_epoch(history) == 1
    assert [is_over(head, history[:n], recipe) for n in range(4)] == [False, False, False, True]
    assert [is_over(whole, history[:n], recipe) for n in range(3, 6)] == [False, False, True]


def test_half_precision_trains_and_what_is_kept_computes_in_single(tiles: Path, tmp_path: Path) -> None:
    half = load_recipe("nano", **SHORT, mixed_precision=True)
    fit(tiles, tmp_path / "run", half)
    network = keras.models.load_model(tmp_path / "run" / "model.keras", compile=False)
    assert {layer.compute_dtype for layer in network.get_layer("backbone").layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


def test_the_history_is_a_table_too(undisturbed: Path) -> None:
    header, *rows = (undisturbed / "history.csv").read_text().splitlines()
    assert header.startswith("epoch,phase,loss,val_loss,learning_rate,seconds,canvases_s,wall_s,val.tiles.")
    assert "val.tiles.auc" in header.split(",")
    assert [row.split(",")[:2] for row in rows] == [["1", "head"], ["2", "whole"], ["3", "whole"]]


def test_tensorboard_gets_every_number(undisturbed: Path) -> None:
    events = EventAccumulator(str(undisturbed / "tensorboard")).Reload()
    assert {"loss", "val_loss", "learning_rate", "val/tiles/auc"} <= set(events.Tags()["tensors"])


@pytest.mark.slow
def test_a_signal_ends_a_run_and_the_command_that_it_names_finishes_it(tiles: Path, tmp_path: Path) -> None:
    folder, recipe_file = tmp_path / "run", tmp_path / "mine.toml"
    recipe_file.write_text(
        "\n".join(f"{key} = {value}" for key, value in {**SHORT, "batch": 1, "steps_per_epoch": 60}.items())
    )
    arguments = ["--data-root", tiles, "--recipe", recipe_file, "--weights", "none", "-o", folder]
    command = [sys.executable, __file__, "train", *map(str, arguments)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 1"):
                process.terminate()
                break
        last = process.stderr.read().splitlines()[-1]
    assert process.returncode == 128 + signal.SIGTERM
    assert last.endswith(f"1 of 2 epochs are kept, go on with: crackedge train --resume {folder}")
    done = subprocess.run([*command[:3], "--resume", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{folder}: trained, 2 epochs. Next: crackedge export {folder}" in done.stdout
    assert [line["epoch"] for line in history_of(folder)] == [1, 2]


if __name__ == "__main__":
    pytest.MonkeyPatch().setattr(fit_module, "build_network", small_network)
    if sys.argv[1] == "train":
        main()
    charts.save = blank
    data, run, kind, step = sys.argv[1:]
    if step == "resume":
        resume(Path(run))
        run, step = f"{run}-not", "-1"
    killed = at_step(int(step), lambda: os.kill(os.getpid(), signal.SIGKILL))
    fit(
        Path(data),
        Path(run),
        load_recipe("nano", **(RECIPE if kind == "whole" else SHORT), learning_rate=0.01),
        report=killed,
    )
