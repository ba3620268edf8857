"""Keras networks that see darkness: cheap, and their answers are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Network = Any


@pytest.fixture(scope="session")
def dark_network() -> Callable[..., Network]:
    """``dark_network(scaling="one", gain=4.0)``: pixels to a logit map, about ``gain`` for a black cell."""
    keras = pytest.importorskip("keras", reason="the workstation's packages are not installed")

    def build(
        *, scaling: str = "one", gain: float = 4.0, middle: Callable[[Any], Any] = lambda cells: cells
    ) -> Network:
        pixels = keras.Input((None, None, 3), name="pixels")
        if scaling == "caffe":
            scale = keras.layers.Conv2D(3, 1, name="scale", trainable=False)
            scaled = scale(pixels)
            scale.set_weights([np.eye(3)[::-1].reshape(1, 1, 3, 3), -np.array([103.9, 116.8, 123.7])])
        else:
            factor, offset = {"one": (1 / 127.5, -1.0), "unit": (1 / 255, 0.0)}[scaling]
            scaled = keras.layers.Rescaling(factor, offset=offset, name="scale")(pixels)
        cells = middle(keras.layers.AveragePooling2D(32)(scaled))
        head = keras.layers.Conv2D(1, 1, name="logit_map")
        network = keras.Model(pixels, head(cells), name="darkness")
        span, black = {"one": (2.0, -1.0), "unit": (1.0, 0.0), "caffe": (255.0, -114.8)}[scaling]
        slope = -2 * gain / span
        head.set_weights([np.full((1, 1, 3, 1), slope / 3), np.array([gain - slope * black])])
        return network

    return build


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """``write_run(network, **more)``: the folder of a training run, as training leaves it; ``more`` for its config."""

    def write(network: Network, *, sets: tuple[str, ...] = ("tiles", "masked", "boxed"), **more: Any) -> Path:
        folder = tmp_path / "run"
        folder.mkdir()
        network.save(folder / "model.keras")
        listed = [{"name": name, "photographs": 12, "licence": "CC0", "source": "drawn"} for name in sets]
        recipe = {"name": "tiny", "backbone": "darkness", "alpha": 1.0}
        config = {"recipe": recipe, "sets": listed, "weights": None, "tools": {}, **more}
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return write
