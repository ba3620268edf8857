"""The live view's memory: the newest frame, what was counted, the last cracks. Filled by the run, read by the server.

Taking a frame costs the run next to nothing: pictures are marked and encoded by whoever looks at them, once for all.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from crackedge.edge_runtime.frame import Frame, Image
from crackedge.edge_runtime.lattice import CELL
from crackedge.edge_runtime.records import Record
from crackedge.edge_runtime.scan.scanner import FrameResult
from crackedge.edge_runtime.scan.scoremap import ScoreMap
from crackedge.edge_runtime.sinks.marking import marked
from crackedge.edge_runtime.sinks.pictures import cut_out, encoded_jpeg
from crackedge.edge_runtime.thermal import temperature_c

if TYPE_CHECKING:
    from typing import Self

    from crackedge.edge_runtime.sources.live import LiveStatus
    from crackedge.edge_runtime.sources.source import Source

View = Literal["marked", "scores"]

_RATE_OVER_S = 5.0
_CRACKS = 24  # of the running list
_CRACK_EVERY_S = 0.5  # one crack fills many frames
_MOST_WIDTH_PX = 1280  # of streamed pictures: a phone has no more
_MOST_CROP_PX = 480  # the longer side of cracks in the running list: thumbnails, of which many are kept
_QUALITY = {"stream": 75, "snapshot": 92}
_HEAT = 0.45  # opacity of the score map
_LINK = ("connected", "frozen", "reconnections")  # of a live source's status


@dataclass(frozen=True, slots=True)
class Crack:
    """One entry of the running list.

    Attributes:
        number: counts up.
        index: of the frame.
        time_s: of the frame in its source.
        score: of the region.
        bbox: x0, y0, x1, y1 in pixels of the frame.
        crop: (h, w, 3) uint8 RGB, the region with a margin, at most 480 px long.
    """

    number: int
    index: int
    time_s: float
    score: float
    bbox: tuple[int, int, int, int]
    crop: Image


@dataclass(frozen=True, slots=True)
class _Newest:
    number: int
    frame: Frame
    result: FrameResult
    at_s: float
    age_s: float | None


class LiveView:
    """A sink that remembers what a live view shows; for the sources of a run one after the other.

    Args:
        model: name of the model.
        threshold: of windows, as it is now; asked when somebody looks.
        clock: seconds, monotonic; for tests.
    """

    name = "live view"

    def __init__(
        self, *, model: str, threshold: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._model, self._threshold, self._clock = model, threshold, clock
        self._lock = threading.Lock()  # guards all below
        self._newest: _Newest | None = None
        self._source: dict[str, Any] = {}
        self._link: Callable[[], LiveStatus] | None = None
        self._counts = {"frames": 0, "cracked_frames": 0, "regions": 0, "dropped_frames": 0, "gaps": 0}
        self._stages_s: dict[str, float] = {}
        self._recent: deque[float] = deque()
        self._cracks: deque[Crack] = deque(maxlen=_CRACKS)
        self._numbers = itertools.count(1)
        self._next_crack_s = 0.0
        self._started_s = clock()
        self._jpegs: dict[View, tuple[int, bytes]] = {}
        self._encoding: dict[View, threading.Lock] = {"marked": threading.Lock(), "scores": threading.Lock()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def follow(self, source: Source) -> None:
        """Show how this source is doing too, where it is live."""
        self._link = getattr(source, "status", None)

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Remember a frame; see :class:`crackedge.edge_runtime.sinks.sink.Sink`."""
        now_s = self._clock()
        age_s = frame.age_s()
        crack = self._crack_in(frame, result, now_s)
        with self._lock:
            self._newest = _Newest(self._counts["frames"] + 1, frame, result, now_s, age_s)
            self._counts["frames"] += 1
            self._counts["cracked_frames"] += result.cracked
            self._counts["regions"] += len(result.regions)
            self._counts["dropped_frames"] += frame.dropped_before
            for stage, spent_ms in result.timing_ms.items():
                self._stages_s[stage] = self._stages_s.get(stage, 0.0) + spent_ms / 1e3
            self._recent.append(now_s)
            while now_s - self._recent[0] > _RATE_OVER_S:
                self._recent.popleft()
            if crack is not None:
                self._cracks.appendleft(crack)

    def note(self, record: Record) -> None:
        """Remember a source's header, and count gaps."""
        with self._lock:
            if record["type"] == "header":
                self._source = record["source"]
            elif record["type"] == "gap":
                self._counts["gaps"] += 1

    def finish(self) -> None:
        """Nothing is held back."""

    @property
    def number(self) -> int:
        """Of the newest frame, from 1; 0 before the first."""
        newest = self._newest
        return 0 if newest is None else newest.number

    def silence_s(self) -> float:
        """How long no frame has been scanned, seconds."""
        newest = self._newest
        return self._clock() - (self._started_s if newest is None else newest.at_s)

    def status(self) -> dict[str, Any]:
        """Everything there is to say in numbers; ready to be written as JSON."""
        with self._lock:
            newest, cracks, counts = self._newest, list(self._cracks), dict(self._counts)
            stages_s, source, recent = dict(self._stages_s), self._source, list(self._recent)
        link = None if self._link is None else self._link()
        now_s = self._clock()
        recent = [at_s for at_s in recent if now_s - at_s <= _RATE_OVER_S]
        spanned_s = recent[-1] - recent[0] if len(recent) > 1 else 0.0
        return {
            "model": self._model,
            "source": {
                **{key: source.get(key) for key in ("uri", "kind", "live")},
                **{key: None if link is None else getattr(link, key) for key in _LINK},
            },
            "uptime_s": round(self._clock() - self._started_s, 3),
            "silence_s": round(self.silence_s(), 3),
            **counts,
            "fps": round((len(recent) - 1) / spanned_s, 2) if spanned_s > 0 else 0.0,
            "temperature_c": temperature_c(),
            "threshold": self._threshold(),
            "stage_seconds": {stage: round(spent_s, 6) for stage, spent_s in stages_s.items()},
            "newest": None if newest is None else _newest_status(newest),
            "cracks": [
                {
                    "number": crack.number,
                    "index": crack.index,
                    "time_s": round(crack.time_s, 3),
                    "score": round(crack.score, 4),
                    "bbox": list(crack.bbox),
                }
                for crack in cracks
            ],
        }

    def jpeg(self, view: View) -> tuple[int, bytes] | None:
        """Number and JPEG of the newest frame, not wider than 1280 px; encoded once, however many look."""
        with self._encoding[view]:
            newest = self._newest
            if newest is None:
                return None
            known = self._jpegs.get(view)
            if known is None or known[0] != newest.number:
                picture = _picture(newest, view)
                data = _encoded(_shrunk(picture, picture.shape[1], _MOST_WIDTH_PX), "stream")
                if data is None:
                    return None
                known = self._jpegs[view] = newest.number, data
            return known

    def snapshot(self) -> bytes | None:
        """The newest frame, marked, at its own size, as JPEG."""
        newest = self._newest
        return None if newest is None else _encoded(_picture(newest, "marked"), "snapshot")

    def crop(self, number: int) -> bytes | None:
        """A crack of the running list as JPEG; None where it is not in there any more."""
        with self._lock:
            found = next((crack for crack in self._cracks if crack.number == number), None)
        return None if found is None else _encoded(found.crop, "stream")

    def _crack_in(self, frame: Frame, result: FrameResult, now_s: float) -> Crack | None:
        """The best region of a frame, where it is time for another entry of the list."""
        if not result.regions or now_s < self._next_crack_s:
            return None
        self._next_crack_s = now_s + _CRACK_EVERY_S
        region = result.regions[0]
        crop = cut_out(frame.image, region)
        crop = _shrunk(crop, max(crop.shape[:2]), _MOST_CROP_PX).copy()  # a view would keep the whole frame
        return Crack(next(self._numbers), frame.index, frame.time_s, region.score, region.bbox, crop)


def metrics(status: dict[str, Any]) -> str:
    """A status in Prometheus' text format, version 0.0.4."""
    lines: list[str] = []

    def add(name: str, kind: str, what: str, values: dict[str, Any]) -> None:
        known = {labels: value for labels, value in values.items() if value is not None}
        if known:
            lines.extend([f"# HELP crackedge_{name} {what}", f"# TYPE crackedge_{name} {kind}"])
            lines.extend(f"crackedge_{name}{labels} {float(value):.10g}" for labels, value in known.items())

    newest = status["newest"] or {}
    add("frames_total", "counter", "Frames scanned.", {"": status["frames"]})
    add("cracked_frames_total", "counter", "Frames with a crack region.", {"": status["cracked_frames"]})
    add("regions_total", "counter", "Crack regions of all frames.", {"": status["regions"]})
    add("dropped_frames_total", "counter", "Frames passed over for newer ones.", {"": status["dropped_frames"]})
    add("gaps_total", "counter", "Times that the source gave nothing.", {"": status["gaps"]})
    stages = {f'{{stage="{stage}"}}': spent_s for stage, spent_s in status["stage_seconds"].items()}
    link = status["source"]
    add("reconnections_total", "counter", "Times that the source came back.", {"": link["reconnections"]})
    add("source_connected", "gauge", "Whether the source gives frames in time.", {"": link["connected"]})
    add("source_frozen", "gauge", "Whether it gives the same ones again and again.", {"": link["frozen"]})
    add("stage_seconds_total", "counter", "Time spent, by stage.", stages)
    add("silence_seconds", "gauge", "Since the last scanned frame.", {"": status["silence_s"]})
    add("frames_per_second", "gauge", "Over the last seconds.", {"": status["fps"]})
    add("frame_age_seconds", "gauge", "Age of the newest frame at its result.", {"": newest.get("age_s")})
    add("max_score", "gauge", "Highest window score of the newest frame.", {"": newest.get("max_score")})
    add("threshold", "gauge", "Probability from which a window is cracked.", {"": status["threshold"]})
    add("temperature_celsius", "gauge", "The hottest thermal zone.", {"": status["temperature_c"]})
    return "\n".join(lines) + "\n"


def _newest_status(newest: _Newest) -> dict[str, Any]:
    frame, result = newest.frame, newest.result
    return {
        "number": newest.number,
        "index": frame.index,
        "time_s": round(frame.time_s, 3),
        "age_s": None if newest.age_s is None else round(newest.age_s, 3),
        "width": result.width,
        "height": result.height,
        "max_score": round(result.max_score, 4),
        "regions": len(result.regions),
        "timing_ms": {stage: round(spent, 2) for stage, spent in result.timing_ms.items()},
    }


def _picture(newest: _Newest, view: View) -> Image:
    image = marked(newest.frame.image, newest.result.regions)
    return image if view == "marked" else _heated(image, newest.result.score_map)


def _heated(image: Image, scores: ScoreMap) -> Image:
    """The picture under the probabilities of its cells: blue where there is none, red where it is sure."""
    height, width = image.shape[:2]
    cells = cv2.applyColorMap(np.rint(scores.cell_scores * 255).astype(np.uint8), cv2.COLORMAP_JET)
    blue_first = cv2.resize(cells, None, fx=CELL, fy=CELL, interpolation=cv2.INTER_NEAREST)[:height, :width]
    heat = cv2.cvtColor(blue_first, cv2.COLOR_BGR2RGB)
    return np.asarray(cv2.addWeighted(image, 1 - _HEAT, heat, _HEAT, 0), np.uint8)


def _shrunk(image: Image, side_px: int, most_px: int) -> Image:
    """The picture, made smaller so that a side of so many pixels has no more than ``most_px``."""
    if side_px <= most_px:
        return image
    height, width = image.shape[:2]
    size_wh = max(1, round(width * most_px / side_px)), max(1, round(height * most_px / side_px))
    return np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def _encoded(image: Image, use: str) -> bytes | None:
    return encoded_jpeg(image, quality=_QUALITY[use])
