"""Scenarios that are whole runs: a camera that does not wait, and a video as fast as it goes.

They go through the runner itself, with results and a marked video, in threads as a user's run has them.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

from crackedge.benchmarks.feeds import ArrivalSink, CameraFeed, LoopedClip, TimedVideoSink
from crackedge.benchmarks.sampling import Raw, Samples, captured, stages_of
from crackedge.edge_runtime.errors import OptionError, OutputError
from crackedge.edge_runtime.frame import Image
from crackedge.edge_runtime.result_folder import MARKED_VIDEO, RESULTS
from crackedge.edge_runtime.runner import run
from crackedge.edge_runtime.scan.scanner import Scanner
from crackedge.edge_runtime.sinks.background import BackgroundSink
from crackedge.edge_runtime.sinks.jsonl import JsonlSink
from crackedge.edge_runtime.sinks.sink import Sink
from crackedge.edge_runtime.sources.source import Source

_WARMUP_S = 0.3  # of a stream
_WARMUP_FRAMES = 5  # of a file
_LEAST_FRAMES = 3


def time_stream(scanner: Scanner, frames: Sequence[Image], *, fps: float, duration_s: float) -> Raw:
    """Ages of results when they are written, newest frame first; frames that were dropped, results that are late.

    Args:
        scanner: what scans.
        frames: what the camera sees, in turn.
        fps: of the camera.
        duration_s: how long it captures, after the warm-up.

    Raises:
        OutputError: results cannot be written to the folder for temporary files.
    """
    camera = CameraFeed(frames, fps=fps, duration_s=_WARMUP_S + duration_s)
    arrivals, video = _run(camera, scanner, fps=fps)
    ages_ms = [
        (arrival.at_s - capture.captured_s) * 1e3
        for arrival, (capture, _) in zip(arrivals.arrivals, camera.taken, strict=True)
    ]
    warm = sum(capture.captured_s < camera.taken[0][0].captured_s + _WARMUP_S for capture, _ in camera.taken)
    warm = max(1, min(warm, len(ages_ms) - 1)) if len(ages_ms) > 1 else 0
    numbers = [capture.number for capture, _ in camera.taken]
    given = captured(fps=fps, duration_s=_WARMUP_S + duration_s) - (numbers[warm - 1] + 1 if warm else 0)
    kept = arrivals.arrivals[warm:]
    period_ms = 1e3 / fps
    stages = {
        "wait": [(taken_s - capture.captured_s) * 1e3 for capture, taken_s in camera.taken[warm:]],
        **stages_of([arrival.timing_ms for arrival in kept]),
        **stages_of(video.stages_ms[-len(kept) :]),  # the last: the video may have passed frames over
    }
    return Raw(
        Samples(ages_ms[0], warm, tuple(ages_ms[warm:])),
        stages,
        {
            "fps": fps,
            "captured": given,
            "dropped": given - len(kept),
            "late": sum(age > period_ms for age in ages_ms[warm:]),
            "results_per_s": len(kept) / max(kept[-1].at_s - camera.taken[warm][0].captured_s, given / fps),
        },
    )


def time_file(scanner: Scanner, clip: Path | None, *, duration_s: float) -> Raw:
    """Times from one result to the next.

    Args:
        scanner: what scans.
        clip: the video, decoded again and again.
        duration_s: how long about.

    Raises:
        OptionError: there is no video.
        SourceError: it cannot be decoded.
        OutputError: results cannot be written to the folder for temporary files.
    """
    if clip is None:
        raise OptionError("scenario file: this footage has no video; expected one")
    source = LoopedClip(clip, duration_s=duration_s, least_frames=_WARMUP_FRAMES + _LEAST_FRAMES)
    arrivals, video = _run(source, scanner, fps=None)
    at_s = [arrival.at_s for arrival in arrivals.arrivals]
    between_ms = [(later - earlier) * 1e3 for earlier, later in itertools.pairwise(at_s)]
    warm = _WARMUP_FRAMES
    stages = {
        "decode": source.decode_ms[warm:],
        **stages_of([arrival.timing_ms for arrival in arrivals.arrivals[warm:]]),
        **stages_of(video.stages_ms[warm:]),
    }
    frames_per_s = (len(at_s) - warm) / (at_s[-1] - at_s[warm - 1])
    return Raw(
        Samples(between_ms[0], warm, tuple(between_ms[warm - 1 :])), stages, {"frames_per_s": round(frames_per_s, 3)}
    )


def _run(source: Source, scanner: Scanner, *, fps: float | None) -> tuple[ArrivalSink, TimedVideoSink]:
    """A real run with results and a marked video, in a folder that is gone afterwards.

    As in a user's run, a file's video is waited for, and a camera's passes frames over that it is too slow for.
    """
    with tempfile.TemporaryDirectory(prefix="crackedge-bench-") as name:
        video = TimedVideoSink(Path(name, MARKED_VIDEO), fps=fps)
        arrivals = ArrivalSink()
        sinks: list[Sink] = [JsonlSink(Path(name, RESULTS)), BackgroundSink(video, live=source.live), arrivals]
        try:
            with source as frames:
                lost = [one.reason for one in run(frames, scanner, sinks).lost_outputs]
        except OutputError as error:
            lost = [str(error)]
    if lost:
        raise OutputError(f"{lost[0]}; or set TMPDIR to another folder to measure in")
    return arrivals, video
