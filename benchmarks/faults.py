"""Faults of live sources, provoked and counted: which ones are survived, and how long a run goes without a frame.

    python -m crackedge.benchmarks.faults [--times 10] [--only TEXT] [--json FILE]
    python -m crackedge.benchmarks.readme docs/faults.md

Every fault is real: sockets that stall, processes that are killed, readers that block. See
:mod:`crackedge.benchmarks.fault_trials` for what counts as survived.
"""

from __future__ import annotations

import statistics
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

from crackedge.benchmarks import fault_trials as trials
from crackedge.benchmarks import faulty_camera as camera
from crackedge.benchmarks import senders
from crackedge.benchmarks.fault_trials import Trial
from crackedge.benchmarks.faulty_camera import Act, pictures
from crackedge.benchmarks.machine import describe_machine
from crackedge.benchmarks.program import PROOF_FAILED, errors_in_a_line, write_figures
from crackedge.benchmarks.table import aligned

SCHEMA = 1
TIMES = 10

Due = Literal["goes on", "ends in time", "ends as a file does"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, and what is due.

    Attributes:
        source: what kind of source has it.
        name: what happens.
        due: what should come of it.
        provoke: does it once.
        needs_rtsp: whether it needs Debian's RTSP server.
    """

    source: str
    name: str
    due: Due
    provoke: Callable[[], Trial]
    needs_rtsp: bool = False

    @property
    def title(self) -> str:
        """What happens to what."""
        return f"{self.source}, {self.name}"


def faults() -> list[Fault]:
    """All of them."""
    http, good = "MJPEG over HTTP", pictures()
    large = (192, 128)

    def web(name: str, *acts: Act, **due: Any) -> Fault:
        return Fault(http, name, "goes on", lambda: trials.through_http(*acts, **due))

    return [
        web("stalls", pictures(5, then=camera.stall), good),
        web("hangs up", pictures(5), good),
        Fault(http, "hangs up and refuses connections for 1 s", "goes on", trials.refused),
        web("comes back with another size", pictures(5), pictures(size_wh=large), size_wh=large),
        web("comes back at a fifth of the rate", pictures(5), pictures(every_s=0.1)),
        web(
            "changes its size in the middle",
            pictures(5, then=pictures(announced=False, size_wh=large)),
            good,
            size_wh=large,
            loses=False,
        ),
        web("garbage between pictures", pictures(5, then=camera.garbage), good),
        web("garbage inside pictures", pictures(5, then=camera.damaged_pictures), good, loses=False),
        web("half a picture, then hangs up", pictures(5, then=camera.half_picture), good),
        web("trickles bytes without end", pictures(5, then=camera.trickle), good),
        web("hangs up, answers nothing once", pictures(5), camera.stall, good),
        web("hangs up, then an endless header once", pictures(5), camera.endless_header, good),
        web("hangs up five times in a row", *(pictures(2) for _ in range(5)), good),
        Fault(http, "repeats one picture, then moves on", "goes on", trials.frozen),
        Fault(http, "refuses connections from the start", "ends in time", trials.absent),
        Fault(http, "never answers", "ends in time", lambda: trials.absent(camera.stall)),
        Fault(http, "answers with an endless header", "ends in time", lambda: trials.absent(camera.endless_header)),
        Fault(http, "stalls for good", "ends in time", lambda: trials.never_back(pictures(5), camera.stall)),
        Fault(http, "trickles for good", "ends in time", lambda: trials.never_back(pictures(5), camera.trickle)),
        Fault(http, "a stop is asked for during the loss", "ends in time", trials.stopped),
        Fault("MPEG-TS over UDP", "sender killed, another follows", "goes on", trials.datagrams_again),
        Fault(
            "MPEG-TS over UDP", "the same, with another size", "goes on", lambda: trials.datagrams_again(size_wh=large)
        ),
        Fault("RTSP", "server killed, another follows", "goes on", trials.rtsp_again, needs_rtsp=True),
        Fault(
            "RTSP", "the same, with another size", "goes on", lambda: trials.rtsp_again(size_wh=large), needs_rtsp=True
        ),
        Fault("RTSP", "server does nothing for 2 s", "goes on", trials.rtsp_stopped, needs_rtsp=True),
        Fault("named pipe", "writer stalls for 1 s", "goes on", lambda: trials.pipe(stalls=True)),
        Fault("named pipe", "writer ends inside a packet", "ends as a file does", lambda: trials.pipe(stalls=False)),
        Fault("camera (stand-in)", "blocks for ever", "goes on", lambda: trials.stand_in(_block)),
        Fault("camera (stand-in)", "gives no pictures any more", "goes on", lambda: trials.stand_in(lambda _: None)),
        Fault("camera (stand-in)", "raises an error of its library", "goes on", lambda: trials.stand_in(_fail)),
        Fault("camera (stand-in)", "unplugged for two attempts", "goes on", lambda: trials.stand_in(_fail, absences=2)),
    ]


def measure(chosen: list[Fault], *, times: int, on_trial: Callable[[Fault, Trial], None]) -> list[dict[str, Any]]:
    """Provoke each fault so many times; ready to be written as JSON."""
    rows = []
    for fault in chosen:
        if fault.needs_rtsp and not senders.has_rtsp():
            continue
        seen = []
        for _ in range(times):
            seen.append(fault.provoke())
            on_trial(fault, seen[-1])
        rows.append(
            {
                "source": fault.source,
                "fault": fault.name,
                "due": fault.due,
                "provoked": len(seen),
                "survived": sum(trial.survived for trial in seen),
                "silence_s": [round(trial.silence_s, 3) for trial in seen],
            }
        )
    return rows


def format_rows(rows: list[dict[str, Any]]) -> str:
    """The counts for the terminal."""
    names = ["source", "fault", "due", "provoked", "survived"]
    shown = [
        [*(row[name] for name in names), statistics.median(row["silence_s"]), max(row["silence_s"])] for row in rows
    ]
    return aligned([*names, "median s", "longest s"], shown, digits=1)


@click.command(help="Provoke faults of live sources over loopback, and count which ones are survived.")
@click.option("--times", default=TIMES, show_default=True, type=click.IntRange(min=1), help="Of each fault.")
@click.option("--only", default="", help="Faults with this in their name.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write all figures there.")
def main(times: int, only: str, json_path: Path | None) -> None:
    """Provoke, count, print."""

    def tell(fault: Fault, trial: Trial) -> None:
        if not trial.survived:
            click.echo(f"not survived: {fault.title}: {trial.story}", err=True)

    with errors_in_a_line():
        machine = describe_machine()
        chosen = [fault for fault in faults() if only in fault.title]
        rows = measure(chosen, times=times, on_trial=tell)
        result = {"schema": SCHEMA, "machine": machine, "faults": rows}
        write_figures(json_path, result)
    click.echo(format_rows(rows))
    if not senders.has_rtsp():
        click.echo(f"without RTSP: not installed ({senders.RTSP_PACKAGES})", err=True)
    if any(row["survived"] < row["provoked"] for row in rows):
        sys.exit(PROOF_FAILED)


def _block(over: threading.Event) -> None:
    over.wait()


def _fail(_: threading.Event) -> None:
    raise RuntimeError("the library is in disorder")


if __name__ == "__main__":
    main()
