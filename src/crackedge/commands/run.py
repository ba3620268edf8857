"""``crackedge run``."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import click

from crackedge.commands.options import cardless_options, engine_options, model_option, open_given_model
from crackedge.commands.scan_options import scan_options, scanner_options
from crackedge.commands.sink_options import given_rotation, sink_options, take_stdout
from crackedge.commands.source_options import given_area, given_reading, refuse_raw, source_options
from crackedge.commands.terminal import StatusLine, count

# Those of edge_runtime.sinks.marked_video, which takes its time to import.
_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")


@click.command()
@click.argument("sources", nargs=-1)
@source_options
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Folder for the results [default: runs/SOURCE-DATE]."
)
@model_option
@engine_options()
@scan_options
@click.option("--max-frames", type=click.IntRange(1), help="Stop after this many frames of each source.")
@click.option("--resume", is_flag=True, help="Continue where an interrupted run into the same -o stopped.")
@sink_options
@click.option("--scores", is_flag=True, help="Write the scores of all windows to results.jsonl too.")
@click.option("--no-video", is_flag=True, help="Write no marked video or images.")
@click.option("--no-window", is_flag=True, help="Show no window, even where one could be shown.")
@click.option(
    "--preset",
    type=click.Choice(_PRESETS),
    default="ultrafast",
    show_default=True,
    help="x264 preset of the marked video, from the fastest to the smallest file.",
)
@click.option("--fail-on-crack", is_flag=True, help="Exit with code 10 if cracks were found.")
@cardless_options
def run(sources: tuple[str, ...], camera: tuple[int, ...], output: Path | None, **options: Any) -> int:
    """Mark the cracks in videos, photographs, cameras and streams.

    SOURCE is a video, an image, a folder or glob of them, a camera's number, an rtsp://, http:// or udp:// address,
    csi://0, picamera://0, gst:PIPELINE, - for a video on stdin, or scene: for a synthetic flight. The results are
    results.jsonl and marked.mp4 (or marked/ for photographs).

    \b
    crackedge run inspection.mp4 -o out/
    crackedge run photos/ --operating-point high-recall
    crackedge run --camera 0 --size 1280x720 --rotate 180
    crackedge run inspection.mp4 --start 1:30 --every 0.5s
    ffmpeg -i rtsp://10.0.0.5/cam -f mjpeg - | crackedge run -
    crackedge run inspection.mp4 -o out/ --resume
    crackedge run --camera 0 --serve 8000 --max-latency-ms 200
    crackedge run --camera 0 --sink mqtt://10.0.0.5/bridge/cracks --sink crops:evidence/ --keep-mb 2000

    Exit codes: 0 done, 1 failed, 2 wrong use, 3 live source absent or lost, 4 an output was lost, 10 cracks found
    (--fail-on-crack), 128 + n ended by signal n.
    """
    texts = [*sources, *(str(number) for number in camera)]
    if not texts:
        raise click.UsageError("no source: give a video, a folder, a camera's number, or an address")
    _import_numpy()
    from crackedge.edge_runtime.native_memory import return_large_blocks
    from crackedge.edge_runtime.runs import OutputOptions, Start, run_sources
    from crackedge.edge_runtime.scan.scanner import Scanner
    from crackedge.edge_runtime.stop import stop_on_signals

    reading, area = given_reading(options), given_area(options)
    if reading.raw is not None:
        refuse_raw(texts)

    def open_scanner() -> Scanner:
        return Scanner(open_given_model(options), area=area, **scanner_options(options))

    def on_start(start: Start) -> None:
        plan, tuning = start.scanner.plan, start.scanner.tuning
        if tuning is not None and tuning.measured:
            from crackedge.edge_runtime.scan.tuning import way_text

            line.say(f"tuned to this device: {way_text(tuning.way, tuning.engine)}; `crackedge tune` takes more time")
        if start.next_index:
            line.say(f"{start.source.uri}: going on at frame {start.next_index}")
        if start.view_url:
            line.say(f"live view: {start.view_url}")
        line.say(
            f"{start.source.uri}: model {start.scanner.model.name}, engine {plan.engine}, stride {plan.stride}, "
            f"threshold {start.scanner.threshold:.2f}, {plan.runtime}, {count(plan.threads, 'thread')}"
        )

    return_large_blocks()
    with StatusLine() as line, stop_on_signals() as stop:
        outcome = run_sources(
            texts,
            open_scanner,
            output=output,
            reading=reading,
            outputs=OutputOptions(
                scores=options["scores"],
                video=not options["no_video"],
                preset=options["preset"],
                window=not options["no_window"],
                sinks=options["sinks"],
                rotation=given_rotation(options),
                serve=options["serve"],
                serve_token=options["serve_token"],
            ),
            max_frames=options["max_frames"],
            resume=options["resume"],
            stop=stop,
            on_start=on_start,
            on_progress=lambda progress: line.show(str(progress)),
            on_warning=lambda text: line.say(f"warning: {text}"),
        )
    for summary in outcome.summaries:
        where = outcome.folder / (summary.part or "")
        click.echo(
            f"{where}: {count(summary.frames, 'frame')}, {summary.cracked_frames} with cracks, "
            f"{summary.fps:.1f} frames/s{'' if summary.reason == 'end' else f', {summary.reason}'}",
            err=take_stdout(options),
        )
    return outcome.exit_code(fail_on_crack=options["fail_on_crack"])


def _import_numpy() -> None:
    """Import it without the threads of its OpenBLAS, which spin while the process starts; no run needs them."""
    setting = "OPENBLAS_NUM_THREADS"
    given = setting in os.environ
    os.environ.setdefault(setting, "1")
    importlib.import_module("numpy")
    if not given:
        del os.environ[setting]  # a sink's program may need its own
