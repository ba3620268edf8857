from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from click.testing import CliRunner

from crackedge.benchmarks.scene_accuracy import APART, flight_over, main, measure
from crackedge.edge_runtime.models.model import open_model


def test_each_surface_is_a_set_of_its_own_and_the_same_every_time(tiny_model: Path) -> None:
    options = {"surfaces": ("concrete", "brick"), "seeds": (5,), "frames": 2, "size": "448x352"}
    first, second = (measure(open_model(tiny_model), engine="dense", **options) for _ in range(2))  # type: ignore[arg-type]
    assert set(first["sets"]) == {"concrete", "brick"}
    assert first["sets"] == second["sets"]
    assert all(one["n"] > 0 for one in first["sets"].values())
    assert first["scenes"]["seeds"] == [5]


def test_motion_does_not_blur_the_cracks_away() -> None:
    flight = flight_over("concrete", 5, frames=2, size="448x352")
    assert flight.frame_count == 2 * APART
    edges = [
        np.abs(cv2.Laplacian(cv2.GaussianBlur(one.frame(APART).image, (0, 0), 1.5).astype(np.float32), -1)).mean()
        for one in (flight, replace(flight, shutter=0.0))
    ]
    assert edges[0] > 0.9 * edges[1]


def test_what_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["--model", str(tmp_path / "none.tflite"), "--json", str(tmp_path / "out.json")])
    assert done.exit_code == 1
    assert "none.tflite" in done.output
    assert not (tmp_path / "out.json").exists()


def test_the_published_figures_are_of_the_shipped_model() -> None:
    import crackedge.benchmarks.scene_accuracy as module

    reference = Path(module.__file__).parent / "reference" / "scene_accuracy.json"
    assert json.loads(reference.read_text())["model"]["sha256"] == open_model("nano").sha256
