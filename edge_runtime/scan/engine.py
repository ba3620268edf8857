"""The two ways to scan a frame: tile by tile, and the whole frame in one pass."""

from __future__ import annotations

from typing import Protocol

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.models.model import Model
from crackedge.edge_runtime.scan.dense_engine import DENSE_STRIDE, DenseEngine, check_logit_map
from crackedge.edge_runtime.scan.scoremap import ScoreMap
from crackedge.edge_runtime.scan.tiles_engine import TILES_BATCH, TILES_STRIDE, TilesEngine

ENGINES = ("auto", "tiles", "dense")


class Engine(Protocol):
    """Scans frames. Not for use by two threads at once.

    Attributes:
        name: ``"tiles"`` or ``"dense"``.
        stride: distance between windows in pixels.
        threads: threads of each interpreter.
        interpreters: how many there are side by side.
        batch: how many tiles one of them takes at once; 1 for dense.
        runtime: package and version of the interpreter.
        timing_ms: of the last call: ``prepare`` (pixels into the network) and ``invoke`` (the network itself).
    """

    name: str
    stride: int
    threads: int
    interpreters: int
    batch: int
    runtime: str
    timing_ms: dict[str, float]

    def __call__(self, image: Image) -> ScoreMap:
        """The score map of an (H, W, 3) uint8 RGB image of any size."""
        ...


def engine_name(model: Model, engine: str = "auto") -> str:
    """Which engine runs a model: ``"tiles"`` or ``"dense"``; ``auto`` goes by the card and never by timing.

    Raises:
        OptionError: there is no such engine, or it cannot run this model.
    """
    if engine not in ENGINES:
        raise OptionError(f"engine {engine!r}: expected one of {', '.join(ENGINES)}")
    if engine == "dense":
        check_logit_map(model)
    if engine == "auto":
        return "dense" if model.card.head == "logit-map" else "tiles"
    return engine


def make_engine(
    model: Model,
    *,
    engine: str = "auto",
    stride: int | None = None,
    threads: int | None = None,
    interpreters: int | None = None,
    batch: int | None = None,
) -> DenseEngine | TilesEngine:
    """The engine for a model, with its own interpreters.

    Args:
        model: from :func:`crackedge.edge_runtime.models.model.open_model`.
        engine: ``"auto"``, ``"tiles"`` or ``"dense"``.
        stride: distance between windows in pixels, a multiple of 32 up to 224; 32 for dense, 128 for tiles.
        threads: of each interpreter; the usable processors, at most four.
        interpreters: for tiles: how many work side by side; 1.
        batch: for tiles: how many of them an interpreter takes at once; 8.

    Raises:
        OptionError: an option has a value that cannot be used.
        ModelError: the model does not run.
    """
    if engine_name(model, engine) == "dense":
        for name, value in (("interpreters", interpreters), ("batch", batch)):
            if value not in (None, 1):
                raise OptionError(f"{name} {value}: engine 'dense' scans with one, frame by frame; use engine 'tiles'")
        return DenseEngine(model, threads=threads, stride=DENSE_STRIDE if stride is None else stride)
    return TilesEngine(
        model,
        threads=threads,
        stride=TILES_STRIDE if stride is None else stride,
        interpreters=1 if interpreters is None else interpreters,
        batch=TILES_BATCH if batch is None else batch,
    )
