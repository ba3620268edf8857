"""Training with a network that is built and compiled in a second, where the network is not the point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def mean_of_cells(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Whatever a recipe asks for, `fit` and `resume` train a head on the mean colour of each cell, and no backbone."""
    keras = pytest.importorskip("keras", reason="the workstation's packages are not installed")
    from crackedge.train import fit

    def build(recipe: Any, *, weights: str | None) -> Any:
        del weights
        pixels, features = (keras.Input((None, None, 3)) for _ in range(2))
        backbone = keras.Model(features, keras.layers.AveragePooling2D(32)(features), name="backbone")
        scaled = keras.layers.Rescaling(1 / 127.5, offset=-1, name="scale")(pixels)
        logits = keras.layers.Conv2D(1, 1, name="logit_map")(backbone(scaled))
        return keras.Model(pixels, logits, name=recipe.name)

    monkeypatch.setattr(fit, "build_network", build)
    return build
