"""Runs: over one source or several, with their scanner, their sinks and their result folder."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from crackedge.edge_runtime import result_folder
from crackedge.edge_runtime.errors import (
    CrackedgeError,
    LiveSourceError,
    MissingExtraError,
    OptionError,
    OutputError,
    SourceError,
)
from crackedge.edge_runtime.notices import Notices
from crackedge.edge_runtime.records import Record, header_record, utc_now
from crackedge.edge_runtime.runner import run
from crackedge.edge_runtime.scan.scanner import Scanner
from crackedge.edge_runtime.sinks.rotation import KeptFiles, RotationOptions
from crackedge.edge_runtime.sinks.sink import Sink
from crackedge.edge_runtime.sinks.sink_address import (
    SinkAddress,
    SinkContext,
    in_background,
    open_sink,
    parse_sinks,
    results_sink,
    video_sink,
)
from crackedge.edge_runtime.sinks.write_through import written_through
from crackedge.edge_runtime.sources.addresses import Address, find_addresses, folder_name
from crackedge.edge_runtime.sources.applicability import refuse_misfits
from crackedge.edge_runtime.sources.opening import open_address
from crackedge.edge_runtime.sources.source import Source, SourceOptions
from crackedge.edge_runtime.stop import StopFlag
from crackedge.edge_runtime.tally import Earlier, Progress, Summary, summary_of

if TYPE_CHECKING:
    from crackedge.edge_runtime.live_view.server import LiveServer


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """What a run makes of the frames.

    Attributes:
        scores: whether the results carry the scores of all windows.
        video: whether to make marked videos and images.
        preset: of x264.
        crf: quality of x264.
        window: whether to show a live source where that is possible.
        sinks: further outputs, see docs/outputs.md.
        rotation: when files go on in a new part, and how much is kept.
        serve: PORT or HOST:PORT of a live view; none unless given.
        serve_token: what its visitors must bring; they need none on the loopback interface.
    """

    scores: bool = False
    video: bool = True
    preset: str = "ultrafast"
    crf: int = 23
    window: bool = True
    sinks: tuple[str, ...] = ()
    rotation: RotationOptions = field(default_factory=RotationOptions)
    serve: str | None = None
    serve_token: str | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """What a run over one source begins with.

    Attributes:
        source: the opened source.
        scanner: what scans it.
        folder: where results are being written.
        next_index: of the first frame; more than 0 where an interrupted run goes on.
        view_url: of the live view, where there is one.
    """

    source: Source
    scanner: Scanner
    folder: Path
    next_index: int = 0
    view_url: str | None = None


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
    stop, reading, outputs = stop or StopFlag(), reading or SourceOptions(), outputs or OutputOptions()
    _check_request(texts, max_frames)
    if resume:
        _check_resumable(output, outputs)
    _check_server(outputs)
    further, notices = parse_sinks(outputs.sinks), Notices()
    kept = KeptFiles(outputs.rotation, notices)
    addresses = [address for text in texts for address in find_addresses(text)]
    _look_through(addresses, reading, on_warning, endless=max_frames is None)
    place = output or result_folder.default_folder(_run_name(texts, addresses), now=datetime.now().astimezone())
    summaries: list[Summary] = []
    errors: list[CrackedgeError] = []
    files = [path for address in addresses for path in address.paths]
    live = all(address.kind in ("camera", "stream") for address in addresses)
    onward = live and outputs.rotation.keep_mb is not None  # over all restarts of a service together
    with (
        result_folder.ResultFolder(place, reading=files, resume=resume, onward=onward) as target,
        open_scanner() as scanner,
        _served(outputs, scanner) as served,
    ):
        _refuse_budgets(addresses, scanner, reading)

        def run_one(address: Address, part: str | None, where: Path) -> Summary:
            done = _done_before(where, max_frames) if resume else None
            with (
                open_address(address, reading, stop=stop, on_warning=on_warning) as source,
                _subfolder(where, wanted=part is not None),
                written_through(where),
            ):
                if done is not None:
                    _check_same(source, scanner, where, part, reading)
                    on_warning(f"{where}: complete already, nothing was scanned")
                    return summary_of(done, source=address.uri, part=part)
                earlier = _earlier(source, scanner, where, outputs, part, reading) if resume else Earlier()
                if earlier.threshold is not None:
                    scanner.set_threshold(earlier.threshold)
                if served is not None:
                    served.view.follow(source)
                on_start(Start(source, scanner, where, earlier.next_index, served.url if served else None))
                context = SinkContext(
                    source=source,
                    stop=stop,
                    notices=notices,
                    kept=kept,
                    part=part,
                    scores=outputs.scores,
                    preset=outputs.preset,
                    crf=outputs.crf,
                    begin_s=reading.start_s,
                )
                summary = run(
                    source,
                    scanner,
                    [*_sinks(context, where, outputs, further, earlier), *([served.view] if served else [])],
                    part=part,
                    reading=reading,
                    max_frames=max_frames,
                    earlier=earlier,
                    stop=stop,
                    notices=notices,
                    on_progress=on_progress,
                    on_warning=on_warning,
                )
                if resume and summary.complete:
                    from crackedge.edge_runtime.sinks import segments

                    segments.finish(where / result_folder.MARKED_VIDEO)
                return summary

        for address, part in zip(addresses, _parts(addresses), strict=True):
            if stop():
                break
            where = target.path / (part or "")
            try:
                summaries.append(run_one(address, part, where))
            except (SourceError, LiveSourceError) as error:
                if stop():  # what was still opening had no time to
                    break
                if part is None:
                    raise
                errors.append(error)
                on_warning(str(error))
        if summaries and not errors and all(summary.complete for summary in summaries):
            target.keep()
    return Outcome(target.path, tuple(summaries), tuple(errors), stop.signal)


def _check_request(texts: Sequence[str], max_frames: int | None) -> None:
    if max_frames is not None and max_frames < 1:
        raise OptionError(f"max_frames {max_frames}: expected at least 1")
    if not texts:
        raise OptionError("no source; expected a file, folder, URL, camera number or scene:")


def _check_resumable(output: Path | None, outputs: OutputOptions) -> None:
    if output is None:
        raise OptionError("resume: expected the folder of the interrupted run; give -o")
    if outputs.rotation.wanted:
        raise OptionError("resume: outputs in parts cannot be gone on with; give either that or rotation")


def _refuse_budgets(addresses: Sequence[Address], scanner: Scanner, reading: SourceOptions) -> None:
    """Photographs without times would never come to their other bands: nothing is promised of them."""
    untimed = [address for address in addresses if address.kind == "images" and reading.fps is None]
    given = [name for name in ("max_latency_ms", "target_fps") if getattr(scanner.plan, name) is not None]
    if untimed and given:
        raise OptionError(f"{untimed[0].title}: {given[0]} does not apply; photographs are scanned whole")


def _look_through(
    addresses: Sequence[Address], reading: SourceOptions, on_warning: Callable[[str], None], *, endless: bool
) -> None:
    """Refuse options that cannot apply, and say which sources come behind one that has no end."""
    for address in addresses:
        refuse_misfits(address, reading)
    for address, following in itertools.pairwise(addresses):
        if endless and (address.kind == "camera" or (address.kind == "stream" and not address.is_pipe)):
            why = "for several cameras at once, start a run for each"
            on_warning(f"{following.title}: waits until {address.title} ends; {why}")


def _check_server(outputs: OutputOptions) -> None:
    if outputs.serve is not None and find_spec("tornado") is None:
        raise MissingExtraError("serve needs tornado: pip install 'crackedge[serve]'")


@contextlib.contextmanager
def _served(outputs: OutputOptions, scanner: Scanner) -> Iterator[LiveServer | None]:
    """The live view's server, where one is wanted."""
    if outputs.serve is None:
        yield None
        return
    from crackedge.edge_runtime.live_view.memory import LiveView
    from crackedge.edge_runtime.live_view.server import LiveServer, parse_address

    view = LiveView(model=scanner.model.name, threshold=lambda: scanner.threshold)
    address = parse_address(outputs.serve, token=outputs.serve_token)
    with LiveServer(view, address, token=outputs.serve_token, set_threshold=scanner.set_threshold) as server:
        yield server


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
        if not result_folder.has_frames(where):
            with contextlib.suppress(OSError):
                result_folder.discard(where)
                where.rmdir()


def _done_before(where: Path, max_frames: int | None) -> Record | None:
    """The summary of an earlier run that did all that is wanted."""
    from crackedge.edge_runtime import resumption
    from crackedge.edge_runtime.sinks import segments

    done = resumption.done_before(where, max_frames)
    if done is not None:
        segments.finish(where / result_folder.MARKED_VIDEO)  # where the process was killed at the very end
    return done


def _earlier(
    source: Source,
    scanner: Scanner,
    where: Path,
    outputs: OutputOptions,
    part: str | None,
    reading: SourceOptions,
) -> Earlier:
    if source.live:
        raise OptionError(f"{source.uri}: a live source cannot be resumed; run it without --resume")
    plan = scanner.plan
    if plan.reuse or plan.max_latency_ms is not None or plan.target_fps is not None:
        raise OptionError(
            "resume: what reuse and budgets carry from frame to frame is lost with the run; leave out one of them"
        )
    from crackedge.edge_runtime import resumption

    header = _header(source, scanner, part, reading)
    return resumption.take_up(where, header, marked=outputs.video, at=utc_now())


def _check_same(source: Source, scanner: Scanner, where: Path, part: str | None, reading: SourceOptions) -> None:
    from crackedge.edge_runtime import resumption

    resumption.check_same(where, _header(source, scanner, part, reading))


def _header(source: Source, scanner: Scanner, part: str | None, reading: SourceOptions) -> Record:
    return header_record(
        source, model=scanner.model, plan=scanner.plan, started_at=utc_now(), part=part, reading=reading
    )


def _sinks(
    context: SinkContext, where: Path, outputs: OutputOptions, further: Sequence[SinkAddress], earlier: Earlier
) -> list[Sink]:
    sinks = [results_sink(where / result_folder.RESULTS, context, resumed=earlier.resumed)]
    if outputs.video and context.source.kind == "images" and context.source.fps is None:
        from crackedge.edge_runtime.sinks.pictures import ImageSink

        sinks.append(in_background(ImageSink(where / result_folder.MARKED_IMAGES, earlier=earlier.files), context))
    elif outputs.video:
        sinks.append(video_sink(where / result_folder.MARKED_VIDEO, context))
    if outputs.window and context.source.live:
        from crackedge.edge_runtime.sinks.window import has_window

        window = SinkAddress("window", "")
        if has_window() and window not in further:
            sinks.append(open_sink(window, context))
    return [*sinks, *(open_sink(address, context) for address in further)]


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
