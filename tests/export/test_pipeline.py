from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="the workstation's packages are not installed")

from crackedge.edge_runtime.errors import CrackedgeError, OutputError, ProofError
from crackedge.edge_runtime.interpreter import Interpreter
from crackedge.edge_runtime.model import open_model
from crackedge.export import parity
from crackedge.export.pipeline import export_run

Crackedge = Callable[..., "subprocess.CompletedProcess[str]"]


def _write_run(folder: Path, *, gain: float) -> Path:
    """A run folder as training leaves it, with a network that sees darkness: cheap, and its answers are known."""
    import keras

    pixels = keras.Input((None, None, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1, name="scale")(pixels)
    cells = keras.layers.AveragePooling2D(32)(scaled)
    head = keras.layers.Conv2D(1, 1, name="logit_map")
    network = keras.Model(pixels, head(cells))
    head.set_weights([np.full((1, 1, 3, 1), -gain), np.array([0.5])])
    folder.mkdir()
    network.save(folder / "model.keras")
    sets = [
        {"name": name, "photographs": 12, "licence": "CC0", "source": "drawn"} for name in ("tiles", "masked", "boxed")
    ]
    recipe = {"name": "tiny", "backbone": "darkness", "alpha": 1.0}
    (folder / "config.json").write_text(json.dumps({"recipe": recipe, "sets": sets, "weights": None, "tools": {}}))
    return folder


@pytest.fixture(scope="session")
def able_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write_run(tmp_path_factory.mktemp("able") / "run", gain=4.0)


@pytest.fixture(scope="session")
def exported(
    able_run: Path, photographs: Path, crackedge: Crackedge, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The run in both variants: one by the command that people type, one by the function behind it."""
    folder = tmp_path_factory.mktemp("exported")
    paths = {variant: folder / f"tiny_{variant}.tflite" for variant in ("int8", "float32")}
    done = crackedge("export", str(able_run), "--data-root", str(photographs), "-o", str(paths["int8"]))
    assert done.returncode == 0, done.stderr
    export_run(able_run, paths["float32"], data_root=photographs, variant="float32")
    return paths


def test_the_int8_file_keeps_the_contract(exported: dict[str, Path]) -> None:
    model = open_model(exported["int8"])
    assert model.card.head == "logit-map"
    assert model.card.quantization == "int8"
    assert set(model.card.calibration) == {"tiles", "dense"}
    assert {one["name"] for one in model.card.data_sets} == {"tiles", "masked", "boxed"}
    assert set(model.card.metrics["dense"]) == {"tiles", "masked", "boxed"}
    network = Interpreter(model.flatbuffer, threads=1, origin="tiny")
    assert network.input_dtype == "uint8"
    for batch, height, width in ((3, 224, 224), (1, 448, 672), (1, 256, 224)):
        network.resize(batch, height, width)
        network.input()[:] = 127
        assert network.invoke().shape == (batch, height // 32, width // 32, 1)


def test_the_float_file_computes_what_keras_does(exported: dict[str, Path], able_run: Path) -> None:
    import keras

    network = keras.models.load_model(able_run / "model.keras", compile=False)
    image = np.random.default_rng(3).integers(0, 256, (1, 320, 448, 3), dtype=np.uint8)
    interpreter = Interpreter(open_model(exported["float32"]).flatbuffer, threads=1, origin="tiny")
    interpreter.resize(1, 320, 448)
    interpreter.input()[:] = image
    assert interpreter.invoke() == pytest.approx(network.predict_on_batch(image.astype(np.float32)), abs=1e-3)


def test_a_network_whose_answers_drown_in_rounding_is_refused(photographs: Path, tmp_path: Path) -> None:
    run = _write_run(tmp_path / "run", gain=1e-3)
    with pytest.raises(ProofError, match="does not compute"):
        export_run(run, tmp_path / "x.tflite", data_root=photographs)
    assert list(tmp_path.iterdir()) == [run], "no half-written file"


def test_an_existing_file_is_left_alone(exported: dict[str, Path], able_run: Path, photographs: Path) -> None:
    before = exported["int8"].read_bytes()
    with pytest.raises(OutputError, match="--overwrite"):
        export_run(able_run, exported["int8"], data_root=photographs)
    assert exported["int8"].read_bytes() == before


@pytest.mark.parametrize("damage", ["config.json", "model.keras"])
def test_what_is_no_run_folder_is_refused(able_run: Path, photographs: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(able_run, tmp_path / "run")
    (tmp_path / "run" / damage).unlink()
    with pytest.raises(CrackedgeError, match=str(tmp_path / "run")):
        export_run(tmp_path / "run", tmp_path / "x.tflite", data_root=photographs)
    assert list(tmp_path.glob("*.tflite")) == []


def test_a_file_that_computes_something_else_is_not_let_through(exported: dict[str, Path], able_run: Path) -> None:
    import keras

    network = keras.models.load_model(able_run / "model.keras", compile=False)
    other = keras.models.clone_model(network)
    other.get_layer("logit_map").set_weights([np.array([3.0, -2.0, -1.0]).reshape(1, 1, 3, 1), np.zeros(1)])
    rng = np.random.default_rng(4)
    tiles = np.broadcast_to(rng.integers(0, 256, (24, 1, 1, 3), dtype=np.uint8), (24, 224, 224, 3))
    labels = np.arange(24) % 2 == 0
    flatbuffer = open_model(exported["float32"]).flatbuffer
    same = parity.compare(network, flatbuffer, tiles, labels, origin="tiny")
    parity.require(same, "float32", origin="tiny")
    different = parity.compare(other, flatbuffer, tiles, labels, origin="tiny")
    with pytest.raises(ProofError, match="does not compute"):
        parity.require(different, "float32", origin="tiny")


def test_the_card_can_be_read_without_crackedge(exported: dict[str, Path]) -> None:
    import zipfile

    with zipfile.ZipFile(exported["int8"]) as archive:
        card = json.loads(archive.read("crackedge.json"))
    assert card["schema"] == 1
    assert card["quantization_check"]["tiles"] > 0
