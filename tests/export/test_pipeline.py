from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("tensorflow", reason="the workstation's packages are not installed")

from crackedge.cli import cli
from crackedge.edge_runtime.errors import CrackedgeError, DataError, OptionError, OutputError, ProofError
from crackedge.edge_runtime.models.card import ModelCard
from crackedge.edge_runtime.models.golden import picture
from crackedge.edge_runtime.models.model import open_model
from crackedge.edge_runtime.scan.dense_engine import DenseEngine
from crackedge.edge_runtime.scan.tiles_engine import TilesEngine
from crackedge.export import pipeline, variants
from crackedge.export.convert import VARIANTS
from crackedge.export.parity import Judged
from crackedge.export.pipeline import _held_out, export_network
from crackedge.export.quantisation import PICTURES, Quantised
from crackedge.train.corpus import Corpus, gather
from crackedge.train.pack import opened, write_pack
from crackedge.train.recipe import Recipe

Crackedge = Callable[..., "subprocess.CompletedProcess[str]"]
DarkNetwork = Callable[..., Any]
WriteRun = Callable[..., Path]


@pytest.fixture
def able_run(write_run: WriteRun, dark_network: DarkNetwork) -> Path:
    return write_run(dark_network())


@pytest.fixture
def instant_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """int8 is said to be the fastest; measuring has its own test."""

    def cost(path: Path) -> dict[str, Any]:
        frame_ms = {"int8": 10.0, "int16x8": None}.get(path.stem, 20.0)
        return {"tile_ms": 1.0, "frame_ms": frame_ms, "peak_memory_mib": 100, "accelerated": 1.0}

    monkeypatch.setattr(variants, "cost", cost)


def test_the_command_writes_one_proven_int8_file(
    able_run: Path, photographs: Path, crackedge: Crackedge, tmp_path: Path
) -> None:
    output = tmp_path / "tiny.tflite"
    done = crackedge("export", str(able_run), "--data-root", str(photographs), "-o", str(output))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{output}: 0.0")
    assert "% of decisions are float32's (" in done.stdout
    assert re.search(r"\n  tiles: accuracy \d\.\d+, recall \d\.\d+, AUC \d\.\d+ \(n=6, 3 with cracks\)\n", done.stdout)
    assert "chance" not in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "tiny.tflite"], "no log, no unfinished file"
    card = open_model(output).card
    assert (card.head, card.quantization, card.input_dtype) == ("logit-map", "int8", "uint8")
    assert {one["name"] for one in card.data_sets} == {"tiles", "masked", "boxed"}
    assert set(card.metrics["dense"]) == {"tiles", "masked", "boxed"}
    assert (card.lineage, card.training, card.gsd_mm) == ((), {}, None)
    assert card.golden["vectors"]
    check = card.quantization_check
    assert check["sets"]["dense"]["tiles"]["n"] == 12
    assert check["sets"]["tiles"]["masked"]["decisions_equal"] > 0.9
    assert check["measures"] == [{"measure": "4 calibration pictures", "faults": []}]
    assert check["calibrated_on"] == "first half of the validation photographs of boxed, masked, tiles"
    assert check["worst_layers"][0]["steps"] > 0
    assert check["float32_file"]["largest_difference"] < 1e-3

    other = crackedge("export", str(able_run), "--data-root", str(photographs), "-o", str(output))
    assert other.returncode == 1
    assert other.stderr.strip().endswith("tiny.tflite: exists already; give another -o, or --overwrite")


def test_the_card_lists_what_was_learnt_before_and_the_distance_where_it_is_stated(
    write_run: WriteRun, dark_network: DarkNetwork, photographs: Path, tmp_path: Path
) -> None:
    model = {"role": "weights", "name": "nano", "sha256": "ab", "training": {"steps": 9}, "notes": "old"}
    quay = {"name": "quay", "model": "nano", "used_for": "training", "licence": "CC BY-SA 4.0", "source": "s"}
    stated = {"tiles": [0.2, 0.4], "masked": [0.3, 0.6], "boxed": []}
    run = write_run(
        dark_network(),
        lineage={"models": [model], "data_sets": [quay]},
        training={"epochs": 2, "steps": 4},
        sets=(),
    )
    config = json.loads((run / "config.json").read_text())
    own = {"photographs": 12, "licence": "CC0", "source": "drawn"}
    config["sets"] = [{"name": name, "gsd_mm": distances, **own} for name, distances in stated.items()]
    (run / "config.json").write_text(json.dumps(config))
    export_network(run, tmp_path / "new.tflite", data_root=photographs, wanted=("float32",))
    card = open_model(tmp_path / "new.tflite").card
    assert [(one["name"], one.get("model")) for one in card.data_sets] == [
        ("tiles", None),
        ("masked", None),
        ("boxed", None),
        ("quay", "nano"),
    ]
    assert card.lineage == (model,)
    assert card.training == {"epochs": 2, "steps": 4}
    assert card.gsd_mm == (0.2, 0.6)


def test_masks_are_read_by_the_values_of_the_run(
    write_run: WriteRun, dark_network: DarkNetwork, photographs: Path, tmp_path: Path
) -> None:
    # No mask has the value that would say "no crack", so nothing is known but the cracks, and no window counts.
    run = write_run(dark_network(), held_out=[{"name": "masked", "photographs": 6, "value_clear": [64]}])
    export_network(run, tmp_path / "new.tflite", data_root=photographs, wanted=("float32",))
    assert set(open_model(tmp_path / "new.tflite").card.metrics["dense"]) == {"tiles", "boxed"}


def _told(corpus: Corpus) -> dict[str, Any]:
    """What ``config.json`` says of the photographs of a run."""
    return {
        "sets": [{"name": one.base_name} for one in corpus.sets],
        "held_out": [{"name": one.base_name, "names_sha256": one.names_sha256} for one in corpus.held_out],
        "split_inside": corpus.split_inside,
        "data_root": "photos.zip",
    }


def _files(root: Path, config: dict[str, Any]) -> dict[str, int]:
    return {one.name: len(one.items) for one in _held_out(root, config)}


def test_what_was_packed_is_no_proof_where_a_part_of_it_was_held_out(
    write_run: WriteRun, dark_network: DarkNetwork, photographs: Path, tmp_path: Path
) -> None:
    root = tmp_path / "photos"
    shutil.copytree(photographs / "tiles" / "train", root / "tiles")
    folder = gather(root, Recipe("mine"))
    with opened(write_pack(folder, tmp_path / "photos.zip", most_bytes=10**7).path) as unpacked:
        config = _told(gather(unpacked, Recipe("mine")))
        assert _files(unpacked, config) == {"tiles": 4}
    assert config["split_inside"] == {}, "a pack has val/"
    run = write_run(dark_network(), **{**config, "sets": ("tiles",)})
    message = _refused(DataError, "its tiles: not the photographs the run held out", run, tmp_path, data_root=root)
    assert message.endswith("; give the data it was trained on: photos.zip")
    assert _files(root, _told(folder)) == {"tiles": 4}, "a run on the folder itself"
    for entry in folder.sets[0].items:
        entry.image.unlink()
    renamed = {**config, "held_out": [{"name": "tiles", "names_sha256": folder.held_out[0].names_sha256}]}
    assert _files(root, renamed) == {"tiles": 4}, "nothing but what was held out"


def test_a_val_folder_is_taken_at_its_word_and_so_is_a_set_that_was_not_trained_on(
    photographs: Path, tmp_path: Path
) -> None:
    config = _told(gather(photographs, Recipe("mine")))
    assert _files(photographs, config) == {"boxed": 6, "masked": 6, "tiles": 12}
    with opened(write_pack(gather(photographs, Recipe("mine")), tmp_path / "p.zip", most_bytes=150_000).path) as packed:
        fewer, of_the_pack = _files(packed, config), _told(gather(packed, Recipe("mine")))
        assert fewer.keys() == {"boxed", "masked", "tiles"}
        assert sum(fewer.values()) < 24
    root = Path(shutil.copytree(photographs, tmp_path / "photos"))
    shutil.copytree(photographs / "tiles" / "train", root / "new")
    assert _files(root, of_the_pack) == {"boxed": 6, "masked": 6, "new": 12, "tiles": 12}


def test_a_set_that_was_trained_on_whole_is_left_out(photographs: Path, tmp_path: Path) -> None:
    shutil.copytree(photographs / "tiles" / "train", tmp_path / "photos" / "trained")
    shutil.copytree(photographs / "tiles" / "val", tmp_path / "photos" / "looked_at" / "val")
    config = _told(gather(tmp_path / "photos", Recipe("mine")))
    assert [one["name"] for one in config["sets"]] == ["trained"]
    assert _files(tmp_path / "photos", config) == {"looked_at": 12}
    with pytest.raises(DataError, match="its trained: not the photographs the run held out"):
        _held_out(tmp_path / "photos" / "trained", config)


def test_all_variants_side_by_side(
    able_run: Path, photographs: Path, tmp_path: Path, instant_cost: None, dark_network: DarkNetwork
) -> None:
    made = export_network(able_run, tmp_path / "tiny.tflite", data_root=photographs, wanted=VARIANTS)
    assert made.failed == {}
    assert {file.path.name for file in made.files} == {f"tiny-{variant}.tflite" for variant in VARIANTS}
    table = json.loads((tmp_path / "tiny-variants.json").read_text())
    assert table == json.loads(json.dumps(made.table))
    assert [one["variant"] for one in table["variants"]] == list(VARIANTS)
    assert "<table>" in (tmp_path / "tiny-variants.html").read_text()
    image = picture(5, 300, 410)  # no multiple of 32
    expected = np.asarray(dark_network()(_padded(image)[None].astype(np.float32)))[0, :, :, 0]
    for file in made.files:
        model = open_model(file.path)
        assert model.card.quantization == file.path.stem.removeprefix("tiny-")
        assert model.card.input_dtype == ("int16" if "int16" in file.path.stem else "uint8")
        assert np.abs(DenseEngine(model, threads=1)(image).cell_logits - expected).max() < 0.2
        tiles = TilesEngine(model, threads=1)(image)
        assert np.abs(tiles.cell_logits - expected).max() < 0.2


def _padded(image: Any) -> Any:
    return cv2.copyMakeBorder(image, 0, -image.shape[0] % 32, 0, -image.shape[1] % 32, cv2.BORDER_REFLECT_101)


def test_pick_keeps_the_fastest_alone(able_run: Path, photographs: Path, tmp_path: Path, instant_cost: None) -> None:
    output = tmp_path / "tiny.tflite"
    made = export_network(able_run, output, data_root=photographs, wanted=("float32", "int8"), pick=True)
    assert [file.path for file in made.files] == [output]
    assert open_model(output).card.quantization == "int8"
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["run", "tiny-variants.html", "tiny-variants.json", "tiny.tflite"]
    assert made.table is not None
    assert len(made.table["variants"]) == 2


@pytest.mark.parametrize("variant", ["int8", "float16", "int16x8"])
def test_the_conventional_head_runs_on_tiles(able_run: Path, photographs: Path, tmp_path: Path, variant: str) -> None:
    output = tmp_path / "tiny.tflite"
    export_network(able_run, output, data_root=photographs, wanted=(variant,), head="probability")
    model = open_model(output)
    assert model.card.head == "probability"
    assert model.card.input_dtype == {"int8": "uint8", "float16": "float32", "int16x8": "int16"}[variant]
    assert set(model.card.calibration) == set(model.card.metrics) == {"tiles"}
    scan = TilesEngine(model, threads=1)
    assert scan(np.full((224, 224, 3), 80, np.uint8)).window_logits[0, 0] > 1
    assert scan(np.full((224, 224, 3), 180, np.uint8)).window_logits[0, 0] < -1


def test_footage_calibrates_in_place_of_photographs(able_run: Path, photographs: Path, tmp_path: Path) -> None:
    output = tmp_path / "tiny.tflite"
    footage = "scene:concrete?seed=3&frames=20&size=480x448"
    made = export_network(able_run, output, data_root=photographs, calibrate_from=footage)
    check = made.files[0].card.quantization_check
    assert check["calibrated_on"].startswith("240 pieces of 20 of the 20 frames of ")


def test_the_card_names_the_pictures_of_the_measure_that_did(
    card: Callable[..., ModelCard], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = Judged(b"", {}, card().calibration, {})
    monkeypatch.setattr(pipeline, "quantise", lambda *_, **__: Quantised(judged, (), (), PICTURES[1]))
    monkeypatch.setattr(pipeline, "_card", lambda *_: card())
    monkeypatch.setattr("crackedge.export.held_out.measure", lambda *_: card().metrics)
    monkeypatch.setattr("crackedge.edge_runtime.models.golden.record", lambda *_, **__: {})
    subject: Any = SimpleNamespace(
        network=None, head="logit-map", pictures=None, log=None, fitting=frozenset(), from_keras={}, config={},
        representative=lambda count: SimpleNamespace(source=f"{count} pieces of a video"), report=lambda _: None,
    )  # fmt: skip
    _, made = pipeline._make(subject, "int8")
    assert made.quantization_check["calibrated_on"] == f"{PICTURES[1]} pieces of a video"


def test_a_foreign_classifier_says_what_was_made_of_it(photographs: Path, tmp_path: Path, crackedge: Crackedge) -> None:
    import keras

    network = keras.Sequential(
        [
            keras.Input((224, 224, 3)),
            keras.layers.AveragePooling2D(32),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    network.layers[-1].set_weights([np.full((3, 1), -8 / 3), np.array([4.0])])
    network.save(tmp_path / "theirs.keras")
    arguments = ["export", str(tmp_path / "theirs.keras"), "--data-root", str(photographs), "--input-range", "0..1"]
    done = crackedge(*arguments, "-o", str(tmp_path / "x.tflite"), "--variants", "float32")
    assert done.returncode == 0, done.stderr
    assert "turned into a logit map" in done.stderr
    card = open_model(tmp_path / "x.tflite").card
    assert card.head == "logit-map"
    assert set(card.calibration) == {"tiles", "dense"}
    assert card.notes.startswith("Calibrated on the first half")
    assert "; their figures are from the second half. " in card.notes
    done = crackedge(*arguments, "-o", str(tmp_path / "y.tflite"), "--variants", "float32", "--crack-index", "0")
    last = done.stderr.strip().splitlines()[-1]
    assert re.fullmatch(
        r"\w+: AUC 0\.\d+, .* chance.*: is the crack the other output \(--crack-index 1\)\?.*right\?", last
    ), last


def test_a_network_that_learnt_nothing_is_doubted(
    write_run: WriteRun, dark_network: DarkNetwork, photographs: Path, tmp_path: Path
) -> None:
    wanted = ("float32",)
    run = write_run(dark_network(gain=0.0))
    made = export_network(run, tmp_path / "x.tflite", data_root=photographs, wanted=wanted)
    assert "tiles: AUC 0.500, tells nothing apart: has its training taught it anything?" in made.doubts
    blind = {"auc": 0.5, "auc_interval": [0.5, 0.5]}
    wrong = pipeline._doubts(
        dataclasses.replace(made.files[0].card, metrics={"tiles": {"a": blind}}),
        foreign=True,
        input_range="0..255",
        crack_index=1,
    )
    assert wrong == ("a: AUC 0.500, tells nothing apart: is --input-range right?",)
    shutil.rmtree(run)
    run = write_run(dark_network(gain=-4.0))
    made = export_network(run, tmp_path / "y.tflite", data_root=photographs, wanted=wanted)
    assert all("chance" in doubt and ": are cracked and crack-free the wrong way" in doubt for doubt in made.doubts)
    assert made.doubts


def test_too_few_photographs_for_figures_are_said_to_be(able_run: Path, photographs: Path, tmp_path: Path) -> None:
    for kind in ("crack", "no_crack"):
        (tmp_path / "few" / "tiles" / "val" / kind).mkdir(parents=True)
        shutil.copy(photographs / "tiles" / "val" / kind / "0.png", tmp_path / "few" / "tiles" / "val" / kind)
    made = export_network(able_run, tmp_path / "x.tflite", data_root=tmp_path / "few", wanted=("float32",))
    (file,) = made.files
    assert file.card.metrics == {"tiles": {}, "dense": {}}
    assert "not measured: too few photographs are held out" in file.agreement
    assert "%" not in file.agreement
    assert file.figures == ["tiles: no figures, too few photographs"]
    assert "of tiles; none of them has figures (too few windows of tiles). " in file.card.notes
    assert "second half" not in file.card.notes


def _refused(error: type[CrackedgeError], match: str, source: Path, folder: Path, **options: Any) -> str:
    """An export that is refused in one line and leaves nothing but its log."""
    before = set(folder.iterdir())
    with pytest.raises(error, match=match) as caught:
        export_network(source, folder / "x.tflite", **options)
    assert "\n" not in str(caught.value)
    assert set(folder.iterdir()) - before <= {folder / "x-export.log"}, "no half-written file"
    return str(caught.value)


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("crack", r"^tiles: 0 windows with cracks, 3 without in the half .*: add some to val/crack/, or"),
        ("no_crack", r"^tiles: 3 windows with cracks, 0 without in the half .*: add some to val/no_crack/"),
    ],
)
def test_one_class_alone_held_out_is_refused_by_its_name(
    able_run: Path, photographs: Path, tmp_path: Path, gone: str, words: str
) -> None:
    root = tmp_path / "photos"
    shutil.copytree(photographs / "tiles" / "val", root / "tiles" / "val")
    shutil.rmtree(root / "tiles" / "val" / gone)
    _refused(DataError, words, able_run, tmp_path, data_root=root, wanted=("float32",))


def test_masks_that_give_no_window_are_refused_by_their_name(
    write_run: WriteRun, dark_network: DarkNetwork, photographs: Path, tmp_path: Path
) -> None:
    shutil.copytree(photographs / "masked" / "val", tmp_path / "photos" / "masked" / "val")
    run = write_run(dark_network(), held_out=[{"name": "masked", "photographs": 6, "value_clear": [64]}])
    words = (
        "^masked: no window counts in the half of the held-out photographs .* val/crack/ and val/no_crack/, or masks"
    )
    _refused(DataError, words, run, tmp_path, data_root=tmp_path / "photos", wanted=("float32",))


def test_a_network_whose_answers_drown_in_rounding_is_refused(
    write_run: WriteRun, dark_network: DarkNetwork, photographs: Path, tmp_path: Path
) -> None:
    run = write_run(dark_network(middle=_drown))
    message = _refused(ProofError, "int8: does not decide as the network does", run, tmp_path, data_root=photographs)
    assert "decisions differ" in message
    assert "after 4 calibration pictures" in message
    assert message.endswith(f"what the converter said stands in {tmp_path / 'x-export.log'}")
    assert (tmp_path / "x-export.log").read_text().strip()


def _drown(cells: Any) -> Any:
    """Adds and takes away again what leaves nothing of the cells in eight bits."""
    import keras

    high = keras.layers.Rescaling(1.0, offset=1000.0)(cells)
    return keras.layers.Rescaling(1.0, offset=-1000.0)(keras.layers.MaxPooling2D(1)(high))


def test_the_command_ends_with_5_where_a_proof_failed(
    write_run: WriteRun, dark_network: DarkNetwork, photographs: Path, tmp_path: Path, crackedge: Crackedge
) -> None:
    run = write_run(dark_network(middle=_drown))
    arguments = ["export", str(run), "--data-root", str(photographs), "-o", str(tmp_path / "x.tflite")]
    done = crackedge(*arguments)
    assert done.returncode == 5
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"crackedge: {tmp_path / 'x.tflite'}: nothing was written; int8: does not decide")
    assert not (tmp_path / "x.tflite").exists()


def test_a_variant_that_fails_stands_in_the_table(
    write_run: WriteRun, dark_network: DarkNetwork, photographs: Path, tmp_path: Path, instant_cost: None
) -> None:
    run = write_run(dark_network(middle=_drown))
    arguments = ["export", str(run), "--data-root", str(photographs), "-o", str(tmp_path / "x.tflite")]
    done = CliRunner().invoke(cli, [*arguments, "--variants", "int8, float32"], standalone_mode=False)
    assert done.return_value == 5
    assert "int8 failed: int8: does not decide as the network does" in done.output
    assert f"{tmp_path / 'x-export.log'}: what the converter said" in done.output
    table = json.loads((tmp_path / "x-variants.json").read_text())
    assert [one["failed"] is None for one in table["variants"]] == [True, False]
    names = sorted(path.name for path in tmp_path.glob("x*"))
    assert names == ["x-export.log", "x-float32.tflite", "x-variants.html", "x-variants.json"]
    again = CliRunner().invoke(
        cli, [*arguments, "--variants", "int8,float32", "--pick", "--overwrite"], standalone_mode=False
    )
    assert again.return_value == 0, "one was proven, and one is kept"
    assert open_model(tmp_path / "x.tflite").card.quantization == "float32"


def test_a_graph_with_a_baked_size_is_no_logit_map(
    write_run: WriteRun, dark_network: DarkNetwork, photographs: Path, tmp_path: Path
) -> None:
    import keras

    def through_a_list(cells: Any) -> Any:
        return keras.layers.Reshape((7, 7, 3))(keras.layers.Reshape((147,))(keras.layers.CenterCrop(7, 7)(cells)))

    run = write_run(dark_network(middle=through_a_list))
    _refused(ProofError, "a size is baked into its graph", run, tmp_path, data_root=photographs)


def test_unfit_calibration_pictures_are_refused(able_run: Path, photographs: Path, tmp_path: Path) -> None:
    root = tmp_path / "photographs"
    shutil.copytree(photographs / "tiles" / "val" / "crack", root / "tiles" / "val" / "crack")
    _refused(ProofError, "only tiles with cracks.*give sets that have them$", able_run, tmp_path, data_root=root)
    assert not (tmp_path / "x-export.log").exists(), "nothing was converted"
    noise = tmp_path / "noise"
    noise.mkdir()
    rng = np.random.default_rng(4)
    for number in range(16):
        cv2.imwrite(str(noise / f"{number}.png"), rng.integers(0, 256, (224, 224, 3), dtype=np.uint8))
    _refused(ProofError, "noise, or blank", able_run, tmp_path, data_root=photographs, calibrate_from=str(noise))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"wanted": ("int4",)}, "variants int4: expected some of int8, float32, float16, dynamic, int16x8, each once"),
        ({"wanted": ()}, "variants none"),
        ({"wanted": ("int8", "int8")}, "each once"),
        ({"pick": True}, "nothing to pick from"),
        (
            {"wanted": ("float32", "dynamic"), "calibrate_from": "a.mp4"},
            "calibrate_from a.mp4: has no effect on float32, dynamic",
        ),
        ({"head": "boxes"}, "head 'boxes': expected one of logit-map, probability"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, options: dict[str, Any], match: str) -> None:
    with pytest.raises(OptionError, match=match):
        export_network(tmp_path / "run", tmp_path / "x.tflite", data_root=tmp_path, **options)


@pytest.mark.parametrize("name", ["x.h5", "x"])
def test_a_tflite_file_is_called_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match=f"{name}: expected a name that ends in .tflite"):
        export_network(tmp_path / "run", tmp_path / name, data_root=tmp_path)


@pytest.mark.parametrize(
    ("there", "options"),
    [
        ("x.tflite", {}),
        ("x-int8.tflite", {"wanted": ("float32", "int8")}),
        ("x-variants.html", {"wanted": ("float32", "int8"), "pick": True}),
    ],
)
def test_what_exists_is_left_alone(tmp_path: Path, there: str, options: dict[str, Any]) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(OutputError, match=f"{there}: exists already; give another -o, or --overwrite"):
        export_network(tmp_path / "run", tmp_path / "x.tflite", data_root=tmp_path, **options)
    assert (tmp_path / there).read_text() == "mine"
    with pytest.raises(OutputError, match="no such folder; make it"):
        export_network(tmp_path / "run", tmp_path / "none" / "x.tflite", data_root=tmp_path, **options)


@pytest.mark.parametrize("damage", ["config.json", "model.keras"])
def test_what_is_no_run_folder_is_refused(able_run: Path, photographs: Path, tmp_path: Path, damage: str) -> None:
    (able_run / damage).unlink()
    _refused(CrackedgeError, str(able_run), able_run, tmp_path, data_root=photographs)


def test_a_plain_tile_model_cannot_become_a_logit_map(photographs: Path, tmp_path: Path) -> None:
    import keras

    network = keras.Sequential(
        [
            keras.Input((224, 224, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.AveragePooling2D(32),
            keras.layers.Flatten(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    network.layers[-1].set_weights([np.full((147, 1), -8 / 147), np.array([4.0])])
    source = tmp_path / "flat.keras"
    network.save(source)
    _refused(OptionError, "head 'logit-map'", source, tmp_path, data_root=photographs, head="logit-map")
    made = export_network(source, tmp_path / "x.tflite", data_root=photographs)
    assert made.files[0].card.head == "probability"
    assert any("tiles engine alone" in note for note in made.notes)
