"""``crackedge run``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from crackedge.commands.options import cardless_options, engine_options, model_option, open_given_model
from crackedge.commands.terminal import StatusLine, count


@click.command()
@click.argument("sources", nargs=-1)
@click.option(
    "--camera", type=click.IntRange(0), multiple=True, help="Number of a camera; same as the number as SOURCE."
)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Folder for the results [default: runs/SOURCE-DATE]."
)
@model_option
@engine_options
@click.option("--stride", type=int, help="Pixels between windows, a multiple of 32 [default: dense 32, tiles 128].")
@click.option("--threshold", type=float, help="Probability from which a window is cracked, in place of the card's.")
@click.option("--operating-point", help="Named thresholds of the card: balanced, high-recall, high-precision.")
@click.option("--max-frames", type=click.IntRange(1), help="Stop after so many frames of each source.")
@click.option("--resume", is_flag=True, help="Go on where an interrupted run into the same -o stopped.")
@click.option("--scores", is_flag=True, help="Write the scores of all windows to results.jsonl too.")
@click.option("--no-video", is_flag=True, help="Write no marked video or images.")
@click.option("--no-window", is_flag=True, help="Show no window, even where there could be one.")
@click.option("--preset", default="ultrafast", show_default=True, help="x264 preset of the marked video.")
@click.option("--fail-on-crack", is_flag=True, help="Exit with 10 when cracks were found.")
@cardless_options
def run(sources: tuple[str, ...], camera: tuple[int, ...], output: Path | None, **options: Any) -> int:
    """Mark the cracks of videos, photographs, cameras, streams.

    SOURCE is a video, an image, a folder or glob of them, a camera's number, an rtsp://, http:// or udp:// address, or
    scene: for a synthetic flight. Results: results.jsonl and marked.mp4 (or marked/ for photographs).

    \b
    crackedge run inspection.mp4 -o out/
    crackedge run photos/ --operating-point high-recall
    crackedge run --camera 0
    crackedge run inspection.mp4 -o out/ --resume

    Exit codes: 0 done, 1 failed, 2 wrong use, 3 live source absent or lost, 4 an output was lost, 10 cracks found
    (--fail-on-crack), 128 + n ended by signal n.
    """
    texts = [*sources, *(str(number) for number in camera)]
    if not texts:
        raise click.UsageError("no source: give a video, a folder, a camera's number, or an address")
    from crackedge.edge_runtime.runner import OutputOptions, Start, run_sources
    from crackedge.edge_runtime.scanner import Scanner
    from crackedge.edge_runtime.stop import stop_on_signals

    def open_scanner() -> Scanner:
        return Scanner(
            open_given_model(options),
            engine=options["engine"],
            stride=options["stride"],
            threshold=options["threshold"],
            operating_point=options["operating_point"],
            threads=options["threads"],
        )

    def on_start(start: Start) -> None:
        plan = start.scanner.plan
        if start.next_index:
            line.say(f"{start.source.uri}: going on at frame {start.next_index}")
        line.say(
            f"{start.source.uri}: model {start.scanner.model.name}, engine {plan.engine}, stride {plan.stride}, "
            f"threshold {plan.window_threshold:.2f}, {plan.runtime}, {count(plan.threads, 'thread')}"
        )

    with StatusLine() as line, stop_on_signals() as stop:
        outcome = run_sources(
            texts,
            open_scanner,
            output=output,
            outputs=OutputOptions(
                scores=options["scores"],
                video=not options["no_video"],
                preset=options["preset"],
                window=not options["no_window"],
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
            f"{summary.fps:.1f} frames/s{'' if summary.reason == 'end' else f', {summary.reason}'}"
        )
    return outcome.exit_code(fail_on_crack=options["fail_on_crack"])
