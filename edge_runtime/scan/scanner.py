"""The scanner: a model and an engine behind one call, image in, crack regions out."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from crackedge.edge_runtime.errors import OptionError
from crackedge.edge_runtime.frame import Image, check_image
from crackedge.edge_runtime.lattice import stride_cells
from crackedge.edge_runtime.models.card import OperatingPoint
from crackedge.edge_runtime.models.model import DEFAULT_MODEL, Model, open_model
from crackedge.edge_runtime.scan.area import Area
from crackedge.edge_runtime.scan.coverage import Coverage
from crackedge.edge_runtime.scan.dense_engine import DenseEngine
from crackedge.edge_runtime.scan.engine import Engine, make_engine
from crackedge.edge_runtime.scan.regions import Carried, Region, find_regions, highest_score
from crackedge.edge_runtime.scan.resample import cells_on_source, check_scales, fused, on_source, resampled, scale_for
from crackedge.edge_runtime.scan.scoremap import ScoreMap

if TYPE_CHECKING:
    from crackedge.edge_runtime.scan.budget import Budget
    from crackedge.edge_runtime.scan.partial_engine import PartialEngine
    from crackedge.edge_runtime.scan.tuning import Tuning


@dataclass(frozen=True, slots=True)
class Plan:
    """How a scanner scans: everything that its results depend on besides the model and the image.

    Attributes:
        engine: ``"tiles"`` or ``"dense"``.
        stride: distance between windows in pixels, of the source and, at another scale, of the enlarged frame too.
        scale: by how much frames are enlarged before the scan; several are fused by the highest score. Whatever it is,
            cells, windows and regions are those of the source: see :mod:`crackedge.edge_runtime.scan.resample`.
        window_threshold: probability from which a window is cracked.
        cell_threshold: probability from which a cell of a cracked window is marked.
        threads: threads of each interpreter. Like the next two it changes the time a scan takes and not its result.
        interpreters: how many work side by side.
        batch: how many tiles one of them takes at once.
        runtime: package and version of the interpreter.
        delegate: the external delegate, ``LIBRARY[,key=value...]``.
        area: where cracks are looked for; None for everywhere.
        reuse: whether cells are carried over from earlier frames.
        max_latency_ms: what a frame may take from its capture to its result; None without such a promise.
        target_fps: frames a second that are to have a result; None without such a promise.
        refresh_s: how long no cell stays unseen; None where every frame is scanned as a whole.
    """

    engine: str
    stride: int
    scale: float | tuple[float, ...]
    window_threshold: float
    cell_threshold: float
    threads: int
    interpreters: int
    batch: int
    runtime: str
    delegate: str | None
    area: Area | None = None
    reuse: bool = False
    max_latency_ms: float | None = None
    target_fps: float | None = None
    refresh_s: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """What the scan of one frame gave.

    Attributes:
        regions: the crack regions, the highest score first.
        score_map: cells' and windows' scores.
        max_score: highest window score.
        width: of the frame in pixels.
        height: of the frame in pixels.
        timing_ms: by stage: ``prepare`` (pixels into the network), ``invoke`` (the network), ``regions`` (the rest);
            ``motion`` with reuse or a budget.
        coverage: how much of the frame was looked at; None where all of it was, as in every frame without reuse and
            budget.
    """

    regions: tuple[Region, ...]
    score_map: ScoreMap
    max_score: float
    width: int
    height: int
    timing_ms: dict[str, float]
    coverage: Coverage | None = None

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
        area: where cracks are looked for; everywhere unless given.
        scale: by how much frames are enlarged before the scan, one or several; 1.
        gsd_mm: ground sample distance of the footage, millimetres of the surface to a pixel, in place of a scale:
            frames are resampled to what the model was trained at, by its card.
        threads: of each interpreter; the usable processors, at most four.
        interpreters: for tiles: how many work side by side; 1.
        batch: for tiles: how many of them an interpreter takes at once; 8.
        tune: whether to use what is fastest on this device, as kept in the user's cache or else measured now, for
            about two seconds; not where threads, interpreters or batch are given.
        delegate: an external TFLite delegate, ``LIBRARY[,key=value...]``; an opened model has its own.
        reuse: carry cells over from frame to frame and scan only what is new, changed or due; for dense, at one scale.
        max_latency_ms: milliseconds that a frame may take from its capture to its result: what does not fit is scanned
            in bands, frame after frame; for dense, at one scale.
        target_fps: frames a second that are to have a result, by the same means.
        refresh_s: with one of these three, seconds that no cell stays unseen; 2.

    Attributes:
        model: the opened model.
        plan: how it scans.
        tuning: where the plan's threads, interpreters and batch come from; None where nothing was tuned.

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
        area: Area | None = None,
        scale: float | Sequence[float] | None = None,
        gsd_mm: float | None = None,
        threads: int | None = None,
        interpreters: int | None = None,
        batch: int | None = None,
        tune: bool = False,
        delegate: str | None = None,
        reuse: bool = False,
        max_latency_ms: float | None = None,
        target_fps: float | None = None,
        refresh_s: float | None = None,
    ) -> None:
        if threshold is not None:
            _check_threshold(threshold)
        if scale is not None and gsd_mm is not None:
            raise OptionError(f"scale {scale} and ground sample distance {gsd_mm:g} mm: give one of them")
        if isinstance(model, Model) and delegate is not None:
            raise OptionError(f"delegate {delegate!r} for an opened model; give it to open_model")
        self.model = model if isinstance(model, Model) else open_model(model, delegate=delegate)
        self._scales = check_scales(1.0 if scale is None else scale)
        if gsd_mm is not None:
            self._scales = (scale_for(gsd_mm, self.model.card),)
        self._enlarged: dict[float, Image] = {}
        self._scanned_hw = (0, 0)  # of the picture that was scanned last, at its scale
        self.tuning: Tuning | None = None
        if tune and threads is None and interpreters is None and batch is None:
            from crackedge.edge_runtime.scan.tuning import tuned

            self.tuning = tuned(self.model, engine=engine)
            threads, interpreters, batch = dataclasses.astuple(self.tuning.way)
        scan = make_engine(
            self.model, engine=engine, stride=stride, threads=threads, interpreters=interpreters, batch=batch
        )
        named = self.model.card.operating_point(scan.name, operating_point)
        self._point = OperatingPoint(
            window_threshold=named.window_threshold if threshold is None else float(threshold),
            cell_threshold=named.cell_threshold,
        )
        self._threshold = self._point.window_threshold
        self._partial: PartialEngine | None = None
        if reuse or max_latency_ms is not None or target_fps is not None:
            from crackedge.edge_runtime.scan.budget import REFRESH_S, make_budget

            refresh_s = REFRESH_S if refresh_s is None else refresh_s
            budget = make_budget(max_latency_ms=max_latency_ms, target_fps=target_fps, refresh_s=refresh_s)
            self._partial = self._partial_engine(scan, reuse=reuse, budget=budget, refresh_s=refresh_s)
        elif refresh_s is not None:
            raise OptionError(f"refresh_s {refresh_s:g}: expected with reuse, max_latency_ms or target_fps")
        self._engine: Engine | None = self._partial or scan
        self.plan = Plan(
            engine=scan.name,
            stride=scan.stride,
            scale=self._scales[0] if len(self._scales) == 1 else self._scales,
            window_threshold=self._point.window_threshold,
            cell_threshold=self._point.cell_threshold,
            threads=scan.threads,
            interpreters=scan.interpreters,
            batch=scan.batch,
            runtime=scan.runtime,
            delegate=self.model.delegate,
            area=area,
            reuse=reuse,
            max_latency_ms=max_latency_ms,
            target_fps=target_fps,
            refresh_s=refresh_s,
        )

    def _partial_engine(self, scan: Engine, *, reuse: bool, budget: Budget | None, refresh_s: float) -> PartialEngine:
        if not isinstance(scan, DenseEngine) or len(self._scales) > 1:
            found = f"engine '{scan.name}' at {len(self._scales)} scales"
            raise OptionError(f"{found}: reuse and budgets need a logit map, engine 'dense' and one scale")
        from crackedge.edge_runtime.scan.partial_engine import PartialEngine

        calibration = self.model.card.engine_calibration(scan.name)
        return PartialEngine(
            scan, calibration=calibration, point=self._point, reuse=reuse, budget=budget, refresh_s=refresh_s
        )

    def __call__(self, image: Image, *, time_s: float | None = None, waited_ms: float = 0.0) -> FrameResult:
        """Scan one frame.

        Args:
            image: (H, W, 3) uint8 RGB, of any size; smaller than a tile is padded.
            time_s: its position in the source, which reuse and budgets go by; the clock's, unless given.
            waited_ms: how long it has waited since its capture, which counts for ``max_latency_ms``.

        Raises:
            OptionError: the image is of another kind, a time is not finite, or the scanner is closed.
        """
        if self._engine is None:
            raise OptionError("this scanner is closed; use it inside its `with` block")
        if not math.isfinite(time_s or 0.0) or not math.isfinite(waited_ms):
            raise OptionError(f"time_s {time_s}, waited_ms {waited_ms}: expected finite numbers")
        started = time.perf_counter()
        self._aim(self._threshold)
        height, width = check_image(image).shape[:2]
        timing_ms = dict.fromkeys(("prepare", "invoke"), 0.0)
        if self._partial is not None:
            self._partial.expect(time_s)
        scores = fused([self._scan(self._engine, image, scale, timing_ms) for scale in self._scales])
        area = self.plan.area
        allowed = None if area is None else area.cells((height, width))
        found = find_regions(
            scores, self._point, frame_hw=(height, width), allowed=allowed, carried=self._carried((height, width))
        )
        regions = tuple(found)
        total_ms = (time.perf_counter() - started) * 1e3
        timing_ms["regions"] = total_ms - sum(timing_ms.values())
        coverage = None
        if self._partial is not None:
            self._partial.finished(spent_ms=total_ms, waited_ms=waited_ms)
            coverage = None if self._partial.coverage.complete else self._partial.coverage
        return FrameResult(regions, scores, highest_score(scores, allowed), width, height, timing_ms, coverage)

    def _scan(self, engine: Engine, image: Image, scale: float, timing_ms: dict[str, float]) -> ScoreMap:
        """The score map at one scale, on the lattice of the source; adds its time to ``timing_ms``."""
        started = time.perf_counter()
        picture = resampled(image, scale, self._enlarged.get(scale))
        timing_ms["prepare"] += (time.perf_counter() - started) * 1e3
        self._scanned_hw = picture.shape[0], picture.shape[1]
        scores = engine(picture)
        for stage, spent_ms in engine.timing_ms.items():
            timing_ms[stage] = timing_ms.get(stage, 0.0) + spent_ms
        if picture is image:
            return scores
        self._enlarged[scale] = picture
        return on_source(
            scores, scanned_hw=self._scanned_hw, source_hw=image.shape[:2], step=stride_cells(self.plan.stride)
        )

    def _carried(self, frame_hw: tuple[int, int]) -> Carried | None:
        """What the last scan carried over, on the lattice of the source."""
        carried = None if self._partial is None else self._partial.carried
        if carried is None or self._scanned_hw == frame_hw:
            return carried
        cells = cells_on_source(carried.cells, scanned_hw=self._scanned_hw, source_hw=frame_hw)
        return dataclasses.replace(carried, cells=cells)

    def __enter__(self) -> Scanner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def threshold(self) -> float:
        """Probability from which a window is cracked, as last set."""
        return self._threshold

    def set_threshold(self, threshold: float) -> None:
        """Change it, from the next frame on, and then in the plan. Any thread may.

        Raises:
            OptionError: it is no probability.
        """
        _check_threshold(threshold)
        self._threshold = threshold  # one frame has one: it is taken up where a scan begins

    def _aim(self, threshold: float) -> None:
        if threshold != self.plan.window_threshold:
            self._point = dataclasses.replace(self._point, window_threshold=threshold)
            if self._partial is not None:
                self._partial.aim(self._point)
            self.plan = dataclasses.replace(self.plan, window_threshold=threshold)

    def forget(self) -> None:
        """Carry nothing over from the frames so far: those of another source follow, at the threshold last set."""
        self._aim(self._threshold)
        if self._partial is not None:
            self._partial.forget()

    def close(self) -> None:
        """Let go of the interpreters and their memory. May be called again."""
        self._engine = self._partial = None
        self._enlarged.clear()


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold <= 1:
        raise OptionError(f"threshold {threshold}: expected a probability from 0 to 1")
