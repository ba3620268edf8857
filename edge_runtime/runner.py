"""The runner: frames from a source, through a scanner, into sinks."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from crackedge.edge_runtime.errors import CrackedgeError, LiveSourceError, OptionError, SourceError
from crackedge.edge_runtime.frame import Frame
from crackedge.edge_runtime.notices import Notices
from crackedge.edge_runtime.outputs import Outputs
from crackedge.edge_runtime.records import as_text, header_record, summary_record, utc_now
from crackedge.edge_runtime.scan.scanner import Scanner
from crackedge.edge_runtime.sinks.sink import Sink
from crackedge.edge_runtime.sources.read_ahead import read_ahead
from crackedge.edge_runtime.sources.source import Skipped, Source, SourceOptions
from crackedge.edge_runtime.stop import StopFlag
from crackedge.edge_runtime.tally import Earlier, Progress, Summary, Tally

_PROGRESS_S = 0.2  # between two reports


def run(
    source: Source,
    scanner: Scanner,
    sinks: Sequence[Sink],
    *,
    part: str | None = None,
    reading: SourceOptions | None = None,
    max_frames: int | None = None,
    earlier: Earlier | None = None,
    stop: StopFlag | None = None,
    notices: Notices | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_warning: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Scan the frames of a source and give each to all sinks, until the source ends or somebody asks to stop.

    A sink that fails is left out from then on, and the run goes on.

    Args:
        source: where the frames come from.
        scanner: finds the cracks.
        sinks: not yet entered; closed at the end.
        part: name of this source's subfolder among those of several sources.
        reading: how the source is read, for the record.
        max_frames: how many frames to scan at most, those of an earlier run included.
        earlier: what an interrupted run has done already.
        stop: asked before each frame and while waiting.
        notices: what the sinks have to tell.
        on_progress: called a few times a second, and at the end.
        on_warning: called with a line about what went wrong and did not end the run.

    Raises:
        SourceError: the source gave no frame.
        LiveSourceError: it gave none in time.
        OutputError: a sink failed before the first frame.
        OptionError: nothing is to be looked at in any of the frames.
    """
    stop, earlier = stop or StopFlag(), earlier or Earlier()
    most = math.inf if max_frames is None else max_frames
    error: CrackedgeError | None = None
    misfit: OptionError | None = None
    with ExitStack() as stack:
        outputs = Outputs(
            [stack.enter_context(sink) for sink in sinks],
            source,
            notices or Notices(),
            on_warning,
            told_gaps=earlier.gaps,
        )
        scanner.forget()
        header = header_record(
            source, model=scanner.model, plan=scanner.plan, started_at=utc_now(), part=part, reading=reading
        )
        outputs.begin(header, scanner.plan)
        frames = iter(source if source.live else stack.enter_context(read_ahead(source, stop=stop)))
        frames = _still_to_scan(frames, earlier)
        tally = Tally(source, part=part, max_frames=max_frames, earlier=earlier)
        due_s = time.monotonic()
        try:
            while tally.frames < most and not outputs.none_left and (frame := next(frames, None)) is not None:
                if stop():
                    break
                try:
                    result = scanner(frame.image, time_s=frame.time_s, waited_ms=(frame.age_s() or 0.0) * 1e3)
                except OptionError as failure:  # an area that only photographs of another size lie in
                    misfit = misfit or failure
                    _pass_over(frame, failure, source, scanned=tally.frames)
                    continue
                outputs.tell_losses(before_index=frame.index)
                outputs.tell_setting(scanner.plan, before_index=frame.index)
                outputs.tell_notices()
                outputs.write(frame, result)
                tally.add(frame, result)
                if time.monotonic() >= due_s:
                    on_progress(tally.progress())
                    due_s = time.monotonic() + _PROGRESS_S
        except (SourceError, LiveSourceError) as failure:
            if not tally.frames:
                raise
            error = failure
        if misfit is not None and not (tally.frames or stop()):
            raise misfit
        outputs.tell_losses(error=error)
        outputs.finish()
        outputs.tell_notices()
        outputs.tell_drops()
        summary = tally.summary(
            interrupted=stop() or outputs.none_left,
            error=error,
            lost_outputs=outputs.lost,
            dropped_by_sink=outputs.dropped,
        )
        outputs.note(summary_record(summary, ended_at=utc_now()))
    if tally.frames:
        on_progress(tally.progress())
    # Once more: a disk may have become full with the very last line.
    return dataclasses.replace(summary, lost_outputs=outputs.lost)


def _still_to_scan(frames: Iterator[Frame], earlier: Earlier) -> Iterator[Frame]:
    """Those that an interrupted run did not scan; photographs that it passed over are looked at again."""
    done = set(earlier.files)
    for frame in frames:
        if frame.index >= earlier.next_index or (frame.file is not None and as_text(frame.file) not in done):
            yield frame


def _pass_over(frame: Frame, misfit: OptionError, source: Source, *, scanned: int) -> None:
    """Put a photograph that nothing is to be looked at in among those that were skipped.

    Raises:
        OptionError: it is none, or the source has begun again and no frame was scanned.
    """
    if frame.file is None:
        raise misfit
    skipped = Skipped(frame.file, str(misfit))
    if skipped not in source.skipped:
        source.skipped.append(skipped)
    elif not scanned:
        raise misfit
