"""The partial engine: scans what has to be scanned of a frame, and carries the rest over from earlier ones.

With *reuse* that is a full scan every few frames (a *key*) and, between keys, boxes around cells that are new or have
changed. A key is also the audit: it recomputes every carried cell and pays for no halo (docs/adr/0010). With a *budget*
it is what fits into the time there is, in bands where the whole does not (docs/adr/0011).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.frame import Image, check_image
from crackedge.edge_runtime.lattice import CellBox
from crackedge.edge_runtime.models.card import Calibration, OperatingPoint
from crackedge.edge_runtime.scan import budget as budgets
from crackedge.edge_runtime.scan import carry
from crackedge.edge_runtime.scan.audit import Doubt, audited, lowered
from crackedge.edge_runtime.scan.boxes import boxes_around
from crackedge.edge_runtime.scan.budget import Budget, Costs, Level
from crackedge.edge_runtime.scan.carry import CarriedMap
from crackedge.edge_runtime.scan.coverage import Coverage
from crackedge.edge_runtime.scan.dense_engine import DenseEngine
from crackedge.edge_runtime.scan.motion import CONFIDENT, Matrix, View, changes, corners, find_motion, view_of
from crackedge.edge_runtime.scan.passes import passes, scanned_cells
from crackedge.edge_runtime.scan.regions import Carried
from crackedge.edge_runtime.scan.scoremap import ScoreMap

KEY_FRAMES = 6  # from one full scan to the next, while something moves

_CHANGE = 8.0  # grey levels by which a cell must differ at least to count as changed
_CHANGE_FACTOR = 5.0  # and how many times as much as cells do in the middle
_PAUSE_FRAMES = 50  # of full scans after too much was lost
_PERIODS = 20  # frames that the time between frames is estimated from
_GUESSED_PERIOD_S = 1 / 30

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class _Anchor:
    """The last frame of which something was scanned, and the map that belongs to it."""

    view: View
    points: npt.NDArray[np.float32]
    map: CarriedMap
    motion: Matrix | None  # from this frame to the one looked at last: a first guess for the next


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """What is known of a frame before anything of it is scanned."""

    view: View
    map: CarriedMap
    changed: Bools  # (rows, cols)
    rejected: str  # why nothing could be carried
    matrix: Matrix | None


class PartialEngine:
    """Scans parts of frames that follow each other; an engine like the others. Not for use by two threads at once.

    Args:
        dense: scans boxes of a frame.
        calibration: of that engine.
        point: the thresholds of a full scan.
        reuse: whether to leave out what was scanned in earlier frames.
        budget: what was promised; None to take the time it takes, which makes results depend on nothing but frames.
        refresh_s: how long no cell stays unseen.
        clock: seconds, monotonic.

    Attributes:
        timing_ms: of the last call: ``motion``, ``prepare`` and ``invoke``.
        carried: which cells of the last score map were carried from where the camera saw them before, and the lower
            thresholds for them; None where there are none.
        coverage: what was looked at in the last call.
    """

    def __init__(
        self,
        dense: DenseEngine,
        *,
        calibration: Calibration,
        point: OperatingPoint,
        reuse: bool,
        budget: Budget | None = None,
        refresh_s: float = budgets.REFRESH_S,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.name, self.stride, self.threads = dense.name, dense.stride, dense.threads
        self.interpreters, self.batch, self.runtime = dense.interpreters, dense.batch, dense.runtime
        self.timing_ms: dict[str, float] = {}
        self.carried: Carried | None = None
        self.coverage = Coverage(0.0, 0.0, 0.0, 0.0)
        self._dense, self._calibration, self._point = dense, calibration, point
        self._reuse, self._budget, self._refresh_s, self._clock = reuse, budget, refresh_s, clock
        self._costs, self._level = Costs(), Level()
        self._warm: set[tuple[int, int]] = set()  # sizes in cells that an interpreter was made for
        self._scanned: tuple[int, float] | None = None  # cells and milliseconds of the last frame, where they count
        self.forget()

    def aim(self, point: OperatingPoint) -> None:
        """Use other thresholds from the next frame on."""
        self._point = point

    def forget(self) -> None:
        """Carry nothing over from the frames so far: those of another source follow."""
        self._doubt = Doubt()
        self._anchor: _Anchor | None = None
        self._since_key = self._pause = 0
        self._round_s = math.inf
        self._times_s: tuple[float, ...] = ()

    def expect(self, time_s: float | None) -> None:
        """Say where in its source the next frame stands; the clock says it, unless told. Going back is a new source."""
        now_s = self._clock() if time_s is None else time_s
        if self._times_s and now_s < self._times_s[-1]:
            self.forget()
        self._times_s = (*self._times_s, now_s)[-_PERIODS:]

    def __call__(self, image: Image) -> ScoreMap:
        """The score map of the next frame, (H, W, 3) uint8 RGB, of any size; sets ``carried`` and ``coverage``."""
        started = self._clock()
        if not self._times_s:
            self.expect(None)
        now_s = self._times_s[-1]
        cells_hw = lattice.cells_hw(*check_image(image).shape[:2])
        known = self._known(image, cells_hw, now_s)
        self.timing_ms = {"motion": (self._clock() - started) * 1e3, "prepare": 0.0, "invoke": 0.0}
        if self._budget is not None:
            self._level = budgets.next_level(
                self._level,
                self._costs,
                allowed_ms=self._budget.frame_ms,
                cells_hw=cells_hw,
                period_s=self._period_s(),
                refresh_s=self._refresh_s,
            )
        boxes, halved = self._wanted(known, now_s), False
        if not self._fits(boxes, cells_hw):
            boxes, halved = self._bands(known, now_s), self._level.halved
        return self._scan(image, known, boxes, halved=halved, now_s=now_s)

    def finished(self, *, spent_ms: float, waited_ms: float) -> None:
        """Say what the frame took altogether, and how long it had waited before: budgets go by it."""
        cells, scan_ms = self._scanned or (0, 0.0)
        in_network_ms = self.timing_ms["prepare"] + self.timing_ms["invoke"]
        waited_ms = waited_ms if self._budget is not None and self._budget.latency_ms is not None else 0.0
        self._costs = self._costs.observed(cells=cells, scan_ms=scan_ms, other_ms=spent_ms - in_network_ms + waited_ms)

    def _period_s(self) -> float:
        """From one frame to the next, rather too long."""
        steps = [later - earlier for earlier, later in zip(self._times_s, self._times_s[1:], strict=False)]
        return max(budgets.quantile(steps, 0.9), 1e-3) if steps else _GUESSED_PERIOD_S

    def _known(self, image: Image, cells_hw: tuple[int, int], now_s: float) -> _Known:
        view = view_of(image)
        blank = carry.blank(cells_hw, now_s)
        anchor = self._anchor
        if anchor is None:
            return _Known(view, blank, blank.known, "start", None)
        motion = find_motion(anchor.view, view, anchor.points, guess=anchor.motion)
        if motion.confidence < CONFIDENT:
            if anchor.map.looked_s.shape == cells_hw:  # or bands would begin at the top again, frame after frame
                blank = replace(blank, looked_s=anchor.map.looked_s)
            return _Known(view, blank, blank.known, motion.reason, None)
        change = changes(anchor.view, view, motion.matrix)
        changed = change > max(_CHANGE, _CHANGE_FACTOR * float(np.median(change)))
        here = (
            anchor.map
            if motion.still
            else carry.carried(anchor.map, motion.matrix, now_s, frame_hw=(image.shape[0], image.shape[1]))
        )
        return _Known(view, here, changed, "", motion.matrix)

    def _wanted(self, known: _Known, now_s: float) -> list[CellBox]:
        """What ought to be scanned, whatever the budget."""
        whole = [(0, 0, *known.map.known.shape)]
        self._since_key += bool(known.map.moved.any())
        self._pause = max(0, self._pause - 1)
        if not self._reuse or known.rejected or self._pause or self._since_key >= KEY_FRAMES:
            return whole
        if known.map.stale_s(now_s) + self._period_s() > self._refresh_s:
            return whole
        return boxes_around(~known.map.known | known.changed)

    def _fits(self, boxes: list[CellBox], cells_hw: tuple[int, int]) -> bool:
        if self._budget is None or not boxes:
            return True
        if boxes == [(0, 0, *cells_hw)]:
            return self._level.bands == 1 and not self._level.halved
        return self._costs.frame_ms(sum(scanned_cells(box, cells_hw) for box in boxes)) <= self._budget.frame_ms

    def _bands(self, known: _Known, now_s: float) -> list[CellBox]:
        """Bands to scan now, on the lattice of the frame or, where that is given up, of the frame at half its scale."""
        rows, cols = known.map.known.shape
        scores, low = self._dense.scores(known.map.logits), lowered(self._point, self._doubt)
        uncertain = (scores.cell_scores >= low.cell_threshold) & (scores.cell_scores < self._point.cell_threshold)
        looked_s: npt.NDArray[np.float64] = known.map.looked_s.min(1)
        urgent: Bools = np.any(~known.map.known | known.changed | uncertain, axis=1)
        if self._level.halved:
            looked_s = np.minimum.reduceat(looked_s, range(0, rows, 2))
            urgent = np.logical_or.reduceat(urgent, range(0, rows, 2))
            cols = budgets.half_hw((rows, cols))[1]
        rotation = {"now_s": now_s, "period_s": self._period_s(), "refresh_s": self._refresh_s}
        chosen = budgets.choose_bands(looked_s, urgent, bands=self._level.bands, **rotation)
        return [(start, 0, end, cols) for start, end in chosen]

    def _scan(self, image: Image, known: _Known, boxes: list[CellBox], *, halved: bool, now_s: float) -> ScoreMap:
        before, frame_hw = known.map, (image.shape[0], image.shape[1])
        cells_hw = lattice.cells_hw(*frame_hw)
        source, scale = (_half(image), 2) if halved else (image, 1)
        source_hw = lattice.cells_hw(*source.shape[:2])
        here, warm, fresh = before, True, np.zeros(cells_hw, bool)
        for box in boxes:
            logits = self._dense.cell_logits(source, box).repeat(scale, 0).repeat(scale, 1)
            for stage in ("prepare", "invoke"):
                self.timing_ms[stage] += self._dense.timing_ms[stage]
            row0, col0, row1, col1 = (edge * scale for edge in box)
            full = row0, col0, min(row1, cells_hw[0]), min(col1, cells_hw[1])
            here = carry.with_box(here, full, logits[: full[2] - row0, : full[3] - col0], now_s)
            fresh[row0 : full[2], col0 : full[3]] = True
            (top, left, bottom, right), _ = passes(box, source_hw)[0]
            warm &= (bottom - top, right - left) in self._warm
            self._warm.add((bottom - top, right - left))
        cells = sum(scanned_cells(box, source_hw) for box in boxes)
        # The first scan of a size pays for its interpreter.
        self._scanned = (cells, self.timing_ms["prepare"] + self.timing_ms["invoke"]) if cells and warm else None
        scores = self._dense.scores(here.logits)
        where = fresh & before.known & before.moved & ~known.changed
        if where.any() and not halved:
            self._audit(before, scores, where, frame_hw)
        self._keep(known, here, boxes, now_s)
        everywhere = scanned_cells((0, 0, *cells_hw), cells_hw)
        self.carried = Carried(here.moved, lowered(self._point, self._doubt)) if here.moved.any() else None
        self.coverage = Coverage(
            scanned=float(fresh.mean()),
            carried=float((here.known & ~fresh).mean()),
            stale_s=here.stale_s(now_s),
            network=cells / everywhere,
            loss=self._doubt.loss,
            give_up=self._level.give_up,
            scale=1 / scale,
            rejected=known.rejected or ("loss" if self._pause else ""),
        )
        return scores

    def _audit(self, before: CarriedMap, found: ScoreMap, where: Bools, frame_hw: tuple[int, int]) -> None:
        self._doubt = audited(
            self._doubt,
            expected=self._dense.scores(before.logits),
            found=found,
            where=where,
            point=self._point,
            calibration=self._calibration,
            frame_hw=frame_hw,
        )
        if self._reuse and self._doubt.hopeless:
            self._pause, self._doubt = _PAUSE_FRAMES, Doubt()

    def _keep(self, known: _Known, here: CarriedMap, boxes: list[CellBox], now_s: float) -> None:
        """Take the frame as the anchor of those to come, where anything of it was scanned."""
        if boxes:
            self._anchor = _Anchor(known.view, corners(known.view), here, None)
        elif self._anchor is not None:
            self._anchor = replace(self._anchor, motion=known.matrix)
        if not here.moved.any():
            self._since_key, self._round_s = 0, math.inf
        elif self._since_key >= KEY_FRAMES:  # in bands: over when all of them had their turn
            self._round_s = min(self._round_s, now_s)
            if here.looked_s.min() >= self._round_s:
                self._since_key, self._round_s = 0, math.inf


def _half(image: Image) -> Image:
    """The picture at half its size, rounded up."""
    height, width = image.shape[:2]
    half = cv2.resize(image, (-(-width // 2), -(-height // 2)), interpolation=cv2.INTER_AREA)
    return np.asarray(half, np.uint8)
