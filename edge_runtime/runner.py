"""The runner: frames from a source, through a scanner, into sinks; and a whole run with its folder."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from crackedge.edge_runtime import folder, resumption, segments
from crackedge.edge_runtime.errors import CrackedgeError, LiveSourceError, OptionError, OutputError, SourceError
from crackedge.edge_runtime.frame import Frame
from crackedge.edge_runtime.marked_video import VideoSink
from crackedge.edge_runtime.records import Record, gap_record, header_record, summary_record
from crackedge.edge_runtime.relay import BackgroundSink, read_ahead
from crackedge.edge_runtime.scanner import FrameResult, Scanner
from crackedge.edge_runtime.sinks import ImageSink, JsonlSink, Sink
from crackedge.edge_runtime.sources import Address, Source, SourceOptions, find_addresses, folder_name, open_address
from crackedge.edge_runtime.stop import StopFlag
from crackedge.edge_runtime.tally import Earlier, LostOutput, Progress, Summary, Tally, summary_of

_PROGRESS_S = 0.2  # between two reports


def run(
    source: Source,
    scanner: Scanner,
    sinks: Sequence[Sink],
    *,
    part: str | None = None,
    max_frames: int | None = None,
    earlier: Earlier | None = None,
    stop: StopFlag | None = None,
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
        max_frames: how many frames at most, those of an earlier run included.
        earlier: what an interrupted run has done already.
        stop: asked before each frame and while waiting.
        on_progress: called a few times a second, and at the end.
        on_warning: called with a line about what went wrong and did not end the run.

    Raises:
        SourceError: the source gave no frame.
        LiveSourceError: it gave none in time.
        OutputError: a sink failed before the first frame.
    """
    stop, earlier = stop or StopFlag(), earlier or Earlier()
    error: CrackedgeError | None = None
    with ExitStack() as stack:
        outputs = _Outputs([stack.enter_context(sink) for sink in sinks], source, on_warning, told_gaps=earlier.gaps)
        outputs.begin(header_record(source, model=scanner.model, plan=scanner.plan, started_at=_now(), part=part))
        frames: Iterable[Frame] = source if source.live else stack.enter_context(read_ahead(source, stop=stop))
        frames = itertools.dropwhile(lambda frame: frame.index < earlier.next_index, frames)
        still = None if max_frames is None else max(0, max_frames - earlier.frames)
        tally = Tally(source, part=part, max_frames=max_frames, earlier=earlier)
        due_s = time.monotonic()
        try:
            for frame in itertools.islice(frames, still):
                if stop():
                    break
                result = scanner(frame.image)
                outputs.tell_losses(before_index=frame.index)
                outputs.write(frame, result)
                tally.add(frame, result)
                if time.monotonic() >= due_s:
                    on_progress(tally.progress())
                    due_s = time.monotonic() + _PROGRESS_S
        except (SourceError, LiveSourceError) as failure:
            if not tally.frames:
                raise
            error = failure
        outputs.tell_losses(error=error)
        outputs.finish()
        summary = tally.summary(interrupted=stop(), error=error, lost_outputs=outputs.lost)
        outputs.note(summary_record(summary, ended_at=_now()))
    if tally.frames:
        on_progress(tally.progress())
    # Once more: a disk may have become full with the very last line.
    return tally.summary(interrupted=summary.reason == "interrupted", error=error, lost_outputs=outputs.lost)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """What a run makes of the frames.

    Attributes:
        scores: whether the results carry the scores of all windows.
        video: whether to make marked videos and images.
        preset: of x264.
        crf: quality of x264.
        window: whether to show a live source where that is possible.
    """

    scores: bool = False
    video: bool = True
    preset: str = "ultrafast"
    crf: int = 23
    window: bool = True


@dataclass(frozen=True, slots=True)
class Start:
    """What a run over one source begins with.

    Attributes:
        source: the opened source.
        scanner: what scans it.
        folder: where results are being written.
        next_index: of the first frame; more than 0 where an interrupted run goes on.
    """

    source: Source
    scanner: Scanner
    folder: Path
    next_index: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run over one or several sources.

    Attributes:
        folder: where the results are; those of several sources in subfolders named by their ``part``.
        summaries: of the sources that were opened and did not fail before their first frame.
        errors: of the other sources.
        signal: number of the signal that ended the run.
    """

    folder: Path
    summaries: tuple[Summary, ...]
    errors: tuple[CrackedgeError, ...]
    signal: int | None

    def exit_code(self, *, fail_on_crack: bool = False) -> int:
        """What the process should end with: signal before 3, before 1, before 4, before 10."""
        errors = [*self.errors, *(summary.error for summary in self.summaries if summary.error is not None)]
        codes = (
            (128 + (self.signal or 0), self.signal is not None),
            (3, any(isinstance(error, LiveSourceError) for error in errors)),
            (1, bool(errors)),
            (4, any(summary.lost_outputs for summary in self.summaries)),
            (10, fail_on_crack and any(summary.cracked_frames for summary in self.summaries)),
        )
        return next((code for code, holds in codes if holds), 0)


def run_sources(
    texts: Sequence[str],
    open_scanner: Callable[[], Scanner],
    *,
    output: Path | None = None,
    reading: SourceOptions | None = None,
    outputs: OutputOptions | None = None,
    max_frames: int | None = None,
    resume: bool = False,
    stop: StopFlag | None = None,
    on_start: Callable[[Start], None] = lambda _: None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_warning: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Run over sources, with results in a folder: ``results.jsonl`` and ``marked.mp4`` or ``marked/``.

    Several sources have a subfolder each. One that fails is named in a warning and does not hinder the others.

    Args:
        texts: what :func:`open_source` takes; a folder or glob may stand for several sources.
        open_scanner: called once the folder is known to be fit.
        output: the folder; ``runs/SOURCE-YYYYmmdd-HHMMSS`` unless given.
        reading: how to read the sources.
        outputs: what to make of the frames.
        max_frames: how many frames of each source at most.
        resume: whether to go on where an interrupted run over the same sources stopped, in ``output``.
        stop: ends the run when asked.
        on_start: called for each source once it is open.
        on_progress: called a few times a second.
        on_warning: called with a line about what went wrong and did not end the run.

    Raises:
        SourceError: a source does not exist, or the only one gave no frames.
        LiveSourceError: the only source is absent.
        ModelError: the model cannot be used.
        OptionError: an option has a value that cannot be used.
        OutputError: the results cannot be written there.
    """
    if max_frames is not None and max_frames < 1:
        raise OptionError(f"max_frames {max_frames}: expected at least 1")
    if not texts:
        raise OptionError("no source; expected a file, folder, URL, camera number or scene:")
    if resume and output is None:
        raise OptionError("resume: expected the folder of the interrupted run; give -o")
    stop = stop or StopFlag()
    outputs = outputs or OutputOptions()
    addresses = [address for text in texts for address in find_addresses(text)]
    place = output or folder.default_folder(_run_name(texts, addresses), now=datetime.now().astimezone())
    summaries: list[Summary] = []
    errors: list[CrackedgeError] = []
    files = [path for address in addresses for path in address.paths]
    with folder.ResultFolder(place, reading=files, resume=resume) as target, open_scanner() as scanner:
        for address, part in zip(addresses, _parts(addresses), strict=True):
            if stop():
                break
            where = target.path / (part or "")
            done = resumption.done_before(where) if resume else None
            if done is not None:
                segments.finish(where / folder.MARKED_VIDEO)  # where the process was killed at the very end
                summaries.append(summary_of(done, source=address.uri, part=part))
                continue
            try:
                with (
                    open_address(address, reading, stop=stop) as source,
                    _subfolder(where, wanted=part is not None),
                ):
                    earlier = _earlier(source, scanner, where, outputs, part) if resume else Earlier()
                    on_start(Start(source, scanner, where, earlier.next_index))
                    summary = run(
                        source,
                        scanner,
                        _sinks(source, where, outputs, stop, earlier),
                        part=part,
                        max_frames=max_frames,
                        earlier=earlier,
                        stop=stop,
                        on_progress=on_progress,
                        on_warning=on_warning,
                    )
                    if summary.complete:
                        segments.finish(where / folder.MARKED_VIDEO)
                    summaries.append(summary)
            except (SourceError, LiveSourceError) as error:
                if part is None:
                    raise
                errors.append(error)
                on_warning(str(error))
        if not errors and all(summary.complete for summary in summaries):
            target.keep()
    return Outcome(target.path, tuple(summaries), tuple(errors), stop.signal)


class _Outputs:
    """The sinks that still work, and what became of the others."""

    def __init__(
        self, sinks: Sequence[Sink], source: Source, on_warning: Callable[[str], None], *, told_gaps: int
    ) -> None:
        self._sinks, self._source, self._on_warning = list(sinks), source, on_warning
        self._lost: list[LostOutput] = []
        self._told_gaps, self._told_skips = told_gaps, 0

    @property
    def lost(self) -> tuple[LostOutput, ...]:
        return tuple(self._lost)

    def begin(self, header: Record) -> None:
        for sink in self._sinks:
            sink.note(header)

    def write(self, frame: Frame, result: FrameResult) -> None:
        self._each(lambda sink: sink.write(frame, result))

    def note(self, record: Record) -> None:
        self._each(lambda sink: sink.note(record))

    def finish(self) -> None:
        self._each(lambda sink: sink.finish())

    def _each(self, do: Callable[[Sink], None]) -> None:
        for sink in list(self._sinks):
            try:
                do(sink)
            except OutputError as error:  # noqa: PERF203 - one that fails must not keep the others from theirs
                self._sinks.remove(sink)
                self._lost.append(LostOutput(sink.name, str(error)))
                others = ", ".join(other.name for other in self._sinks) or "nothing"
                self._on_warning(f"{error}; still written: {others}")

    def tell_losses(self, *, before_index: int | None = None, error: CrackedgeError | None = None) -> None:
        """Pass on what the source lost since the last time: before a frame, or all, and what ended it."""
        for skip in self._source.skipped[self._told_skips :]:
            self._told_skips += 1
            self._on_warning(f"{skip.file}: skipped, {skip.reason}")
        for gap in self._source.gaps[self._told_gaps :]:
            if before_index is not None and gap.before_index > before_index:
                break  # the reader is ahead
            self._told_gaps += 1
            lasting = "" if gap.seconds is None else f", {gap.seconds:.1f} s missing"
            if error is None:  # which says the same
                self._on_warning(f"{self._source.uri}: {gap.reason} at {gap.time_s:.1f} s{lasting}")
            self.note(gap_record(gap))
        if error is not None:
            self._on_warning(str(error))


@contextlib.contextmanager
def _subfolder(where: Path, *, wanted: bool) -> Iterator[None]:
    """The folder of one of several sources; gone again if no frame came of it."""
    if not wanted:
        yield
        return
    try:
        where.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{where}: cannot be made ({error.strerror}); give another folder") from error
    try:
        yield
    finally:
        if not folder.has_frames(where):
            with contextlib.suppress(OSError):
                folder.discard(where)
                where.rmdir()


def _earlier(source: Source, scanner: Scanner, where: Path, outputs: OutputOptions, part: str | None) -> Earlier:
    if source.live:
        raise OptionError(f"{source.uri}: a live source cannot be resumed; run it without --resume")
    header = header_record(source, model=scanner.model, plan=scanner.plan, started_at=_now(), part=part)
    return resumption.take_up(where, header, marked=outputs.video, at=_now())


def _sinks(source: Source, where: Path, outputs: OutputOptions, stop: StopFlag, earlier: Earlier) -> list[Sink]:
    sinks: list[Sink] = [
        JsonlSink(where / folder.RESULTS, scores=outputs.scores, append=earlier.resumed),
    ]
    if outputs.video and source.kind == "images":
        sinks.append(BackgroundSink(ImageSink(where / folder.MARKED_IMAGES, earlier=earlier.files)))
    elif outputs.video:
        video = VideoSink(where / folder.MARKED_VIDEO, fps=source.fps, preset=outputs.preset, crf=outputs.crf)
        sinks.append(BackgroundSink(video))
    if outputs.window and source.live:
        from crackedge.edge_runtime.window import WindowSink, has_window

        if has_window():
            sinks.append(WindowSink(f"crackedge {source.name}", on_quit=stop.ask))
    return sinks


def _parts(addresses: Sequence[Address]) -> list[str | None]:
    """Names of the subfolders, all different; None for a single source, which needs none."""
    if len(addresses) == 1:
        return [None]
    parts: list[str | None] = []
    for address in addresses:
        names = itertools.chain([address.name], (f"{address.name}-{number}" for number in itertools.count(2)))
        taken = {part.casefold() for part in parts if part}
        parts.append(next(name for name in names if name.casefold() not in taken))
    return parts


def _run_name(texts: Sequence[str], addresses: Sequence[Address]) -> str:
    if len(addresses) == 1:
        return addresses[0].name
    first = folder_name(Path(texts[0]).absolute().name) if len(texts) == 1 else addresses[0].name
    return first if len(texts) == 1 else f"{first}-and-{len(addresses) - 1}-more"


def _now() -> datetime:
    return datetime.now(timezone.utc)
