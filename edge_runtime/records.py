"""Records: the lines of ``results.jsonl``, as plain dictionaries. ``docs/results.schema.json`` describes them all."""

from __future__ import annotations

import dataclasses
import platform
from datetime import datetime, timezone
from typing import Any

from crackedge.edge_runtime import lattice
from crackedge.edge_runtime.frame import Frame
from crackedge.edge_runtime.models.model import Model
from crackedge.edge_runtime.packages import installed_version
from crackedge.edge_runtime.scan.coverage import Coverage
from crackedge.edge_runtime.scan.scanner import FrameResult, Plan
from crackedge.edge_runtime.sources.source import Gap, Source, SourceOptions
from crackedge.edge_runtime.tally import Summary

SCHEMA = 1
Record = dict[str, Any]

_TIME_S = 6  # decimals: microseconds
_TIMING_MS = 3
_SCORE = 4
_MAP_SCORE = 3
_SECONDS = 3
_RATE = 3
_PARTIAL = ("area", "reuse", "max_latency_ms", "target_fps", "refresh_s")  # of a plan, where not all is scanned
_PACKAGES = ("crackedge", "numpy", "opencv-python-headless", "opencv-python", "av", "pillow")


def header_record(
    source: Source,
    *,
    model: Model,
    plan: Plan,
    started_at: datetime,
    part: str | None = None,
    reading: SourceOptions | None = None,
) -> Record:
    """The first line: what ran on what.

    Args:
        source: where the frames come from.
        model: what scans them.
        plan: how.
        started_at: UTC.
        part: name of the subfolder that this run has among those of several sources.
        reading: how the source is read.
    """
    shaping = {} if reading is None else reading.shaping()
    record: Record = {
        "type": "header",
        "schema": SCHEMA,
        "versions": _versions(),
        "model": {"name": model.name, "version": model.card.version, "sha256": model.sha256},
        "source": {
            "uri": source.uri,
            "kind": source.kind,
            "live": source.live,
            "frames": source.frame_count,
            "fps": None if source.fps is None else round(source.fps, 6),
            **({"reading": shaping} if shaping else {}),
        },
        "plan": {
            **{name: value for name, value in dataclasses.asdict(plan).items() if value or name not in _PARTIAL},
            "window_threshold": _exact(plan.window_threshold),
            "cell_threshold": _exact(plan.cell_threshold),
        },
        "started_at": utc_text(started_at),
    }
    if part is not None:
        record["part"] = part
    return record


def frame_record(frame: Frame, result: FrameResult, *, scores: bool = False) -> Record:
    """One scanned frame.

    Args:
        frame: the frame.
        result: what its scan gave.
        scores: whether to add the scores of all windows.
    """
    record: Record = {"type": "frame", "index": frame.index, "time_s": round(frame.time_s, _TIME_S)}
    if frame.captured_at is not None:
        record["captured_at"] = utc_text(frame.captured_at)
    record |= {"dropped_before": frame.dropped_before, "width": result.width, "height": result.height}
    if frame.file is not None:
        record["file"] = frame.file
    record |= {
        "max_score": round(result.max_score, _SCORE),
        "cracked": result.cracked,
        "regions": [
            {
                "bbox": list(region.bbox),
                "polygon": [list(point) for point in region.polygon],
                "score": round(region.score, _SCORE),
                "cells": [list(cell) for cell in region.cells],
            }
            for region in result.regions
        ],
        "timing_ms": {stage: round(spent, _TIMING_MS) for stage, spent in result.timing_ms.items()},
    }
    if result.coverage is not None:
        record["coverage"] = coverage_record(result.coverage)
    if scores:
        values = result.score_map.window_scores
        record["scores"] = {
            "window": lattice.TILE,
            "xs": result.score_map.xs.tolist(),
            "ys": result.score_map.ys.tolist(),
            "values": [[round(score, _MAP_SCORE) for score in row] for row in values.tolist()],
        }
    return record


def coverage_record(coverage: Coverage) -> Record:
    """What stands behind a frame that was scanned in parts; what holds for every frame is left out."""
    record: Record = {
        "scanned": round(coverage.scanned, _SCORE),
        "carried": round(coverage.carried, _SCORE),
        "stale_s": round(coverage.stale_s, _SECONDS),
        "network": round(coverage.network, _SCORE),
    }
    if coverage.loss is not None:
        record["loss"] = round(coverage.loss, _SCORE)
    if coverage.gave_up:
        record["gave_up"] = list(coverage.gave_up)
    if coverage.scale != 1.0:
        record["scale"] = coverage.scale
    if coverage.rejected:
        record["rejected"] = coverage.rejected
    return record


def setting_record(plan: Plan, *, before_index: int) -> Record:
    """A threshold that somebody changed during the run: it holds from the frame of this index on."""
    return {
        "type": "setting",
        "before_index": before_index,
        "window_threshold": _exact(plan.window_threshold),
        "cell_threshold": _exact(plan.cell_threshold),
    }


def gap_record(gap: Gap) -> Record:
    """What a source lost: what, from when, how long."""
    record: Record = {
        "type": "gap",
        "reason": gap.reason,
        "before_index": gap.before_index,
        "time_s": round(gap.time_s, _TIME_S),
        "seconds": None if gap.seconds is None else round(gap.seconds, _TIME_S),
    }
    if gap.started_at is not None:
        record["started_at"] = utc_text(gap.started_at)
    return record


def summary_record(summary: Summary, *, ended_at: datetime) -> Record:
    """The last line of a clean end."""
    return {
        "type": "summary",
        "reason": summary.reason,
        "frames": summary.frames,
        "cracked_frames": summary.cracked_frames,
        "regions": summary.regions,
        "seconds": round(summary.seconds, _SECONDS),
        "fps": round(summary.fps, _RATE),
        "dropped": summary.dropped,
        "gaps": summary.gaps,
        "skipped": [dataclasses.asdict(skip) for skip in summary.skipped],
        "lost_outputs": [dataclasses.asdict(lost) for lost in summary.lost_outputs],
        "dropped_by_sink": [dataclasses.asdict(dropped) for dropped in summary.dropped_by_sink],
        "error": None if summary.error is None else str(summary.error),
        "ended_at": utc_text(ended_at),
    }


def utc_now() -> datetime:
    """This moment."""
    return datetime.now(timezone.utc)


def utc_text(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and a Z."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _exact(threshold: float) -> float:
    return round(threshold, 6)


def _versions() -> dict[str, str]:
    packages = {package: installed_version(package) for package in _PACKAGES}  # one of the two OpenCVs is there
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        **{package: version for package, version in packages.items() if version is not None},
    }


def as_text(name: str) -> str:
    """A file's name as it stands in records: what is no UTF-8 in it becomes a backslash and a number, in plain text."""
    return name.encode(errors="backslashreplace").decode()
