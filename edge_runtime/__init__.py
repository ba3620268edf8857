"""The robot: finds cracks in frames. Never imports TensorFlow.

    from crackedge.edge_runtime import Scanner, open_source

    with Scanner("nano") as scanner, open_source("0") as frames:
        for frame in frames:
            result = scanner(frame.image)  # regions, score map, timing

Names are loaded when first used, so that a command that needs one of them does not pay for all.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crackedge.edge_runtime.errors import (
        CrackedgeError,
        DataError,
        LiveSourceError,
        MissingExtraError,
        ModelError,
        OptionError,
        OutputError,
        ProofError,
        SourceError,
    )
    from crackedge.edge_runtime.frame import Frame
    from crackedge.edge_runtime.models.card import Calibration, ModelCard, OperatingPoint
    from crackedge.edge_runtime.models.model import Model, open_model, shipped_models
    from crackedge.edge_runtime.scan.regions import Region, find_regions
    from crackedge.edge_runtime.scan.scanner import FrameResult, Plan, Scanner
    from crackedge.edge_runtime.scan.scoremap import ScoreMap
    from crackedge.edge_runtime.sources.opening import open_source
    from crackedge.edge_runtime.sources.source import SourceOptions

_HOME = {
    "Calibration": "models.card",
    "CrackedgeError": "errors",
    "DataError": "errors",
    "Frame": "frame",
    "FrameResult": "scan.scanner",
    "LiveSourceError": "errors",
    "MissingExtraError": "errors",
    "Model": "models.model",
    "ModelCard": "models.card",
    "ModelError": "errors",
    "OperatingPoint": "models.card",
    "OptionError": "errors",
    "OutputError": "errors",
    "Plan": "scan.scanner",
    "ProofError": "errors",
    "Region": "scan.regions",
    "Scanner": "scan.scanner",
    "ScoreMap": "scan.scoremap",
    "SourceError": "errors",
    "SourceOptions": "sources.source",
    "find_regions": "scan.regions",
    "open_model": "models.model",
    "open_source": "sources.opening",
    "shipped_models": "models.model",
}

__all__ = [
    "Calibration",
    "CrackedgeError",
    "DataError",
    "Frame",
    "FrameResult",
    "LiveSourceError",
    "MissingExtraError",
    "Model",
    "ModelCard",
    "ModelError",
    "OperatingPoint",
    "OptionError",
    "OutputError",
    "Plan",
    "ProofError",
    "Region",
    "Scanner",
    "ScoreMap",
    "SourceError",
    "SourceOptions",
    "find_regions",
    "open_model",
    "open_source",
    "shipped_models",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
