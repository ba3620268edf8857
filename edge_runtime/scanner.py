"""The scanner: a model and an engine behind one call, image in, crack regions out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from crackedge.edge_runtime.card import OperatingPoint
from crackedge.edge_runtime.engine import Engine, make_engine
from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.model import DEFAULT_MODEL, Model, open_model
from crackedge.edge_runtime.regions import Region, find_regions
from crackedge.edge_runtime.scoremap import ScoreMap


@dataclass(frozen=True, slots=True)
class Plan:
    """How a scanner scans: everything that its results depend on besides the model and the image.

    Attributes:
        engine: ``"tiles"`` or ``"dense"``.
        stride: distance between windows in pixels.
        scale: by how much frames are enlarged before the scan.
        window_threshold: probability from which a window is cracked.
        cell_threshold: probability from which a cell of a cracked window is marked.
        threads: threads of the interpreter.
        runtime: package and version of the interpreter.
    """

    engine: str
    stride: int
    scale: float
    window_threshold: float
    cell_threshold: float
    threads: int
    runtime: str


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """What the scan of one frame gave.

    Attributes:
        regions: the crack regions, the highest score first.
        score_map: cells' and windows' scores.
        max_score: highest window score.
        width: of the frame in pixels.
        height: of the frame in pixels.
        timing_ms: by stage: ``prepare`` (pixels into the network), ``invoke`` (the network), ``regions`` (the rest).
    """

    regions: tuple[Region, ...]
    score_map: ScoreMap
    max_score: float
    width: int
    height: int
    timing_ms: dict[str, float]

    @property
    def cracked(self) -> bool:
        """Whether the frame has a crack region."""
        return bool(self.regions)


class Scanner:
    """Finds cracks in images. A context manager; not for use by two threads at once.

    Args:
        model: name of a shipped model, path of a ``.tflite`` file, or an opened :class:`Model`.
        engine: ``"auto"`` (by the model's card), ``"tiles"`` or ``"dense"``.
        stride: distance between windows in pixels, a multiple of 32 up to 224; 32 for dense, 128 for tiles.
        threshold: probability from which a window is cracked, in place of the operating point's.
        operating_point: name of a pair of thresholds in the card; the card's default.
        threads: of the interpreter; the usable processors, at most four.

    Attributes:
        model: the opened model.
        plan: how it scans.

    Raises:
        ModelError: the model cannot be used.
        OptionError: an option has a value that cannot be used.
    """

    def __init__(
        self,
        model: str | Path | Model = DEFAULT_MODEL,
        *,
        engine: str = "auto",
        stride: int | None = None,
        threshold: float | None = None,
        operating_point: str | None = None,
        threads: int | None = None,
    ) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            raise OptionError(f"threshold {threshold}: expected a probability from 0 to 1")
        self.model = model if isinstance(model, Model) else open_model(model)
        scan = make_engine(self.model, engine=engine, stride=stride, threads=threads)
        named = self.model.card.operating_point(scan.name, operating_point)
        self._point = OperatingPoint(
            window_threshold=named.window_threshold if threshold is None else float(threshold),
            cell_threshold=named.cell_threshold,
        )
        self._engine: Engine | None = scan
        self.plan = Plan(
            engine=scan.name,
            stride=scan.stride,
            scale=1.0,
            window_threshold=self._point.window_threshold,
            cell_threshold=self._point.cell_threshold,
            threads=scan.threads,
            runtime=scan.runtime,
        )

    def __call__(self, image: Image) -> FrameResult:
        """Scan one frame.

        Args:
            image: (H, W, 3) uint8 RGB, of any size; smaller than a tile is padded.

        Raises:
            OptionError: the image is of another kind, or the scanner is closed.
        """
        if self._engine is None:
            raise OptionError("this scanner is closed; use it inside its `with` block")
        started = time.perf_counter()
        scores = self._engine(image)
        height, width = image.shape[:2]
        regions = tuple(find_regions(scores, self._point, frame_hw=(height, width)))
        total_ms = (time.perf_counter() - started) * 1e3
        timing_ms = {**self._engine.timing_ms, "regions": total_ms - sum(self._engine.timing_ms.values())}
        return FrameResult(regions, scores, scores.max_score, width, height, timing_ms)

    def __enter__(self) -> Scanner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the interpreter and its memory. May be called again."""
        self._engine = None
