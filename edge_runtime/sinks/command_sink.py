"""Commands: a program of the user's own for each frame with cracks."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from types import TracebackType
from typing import TYPE_CHECKING

from crackedge.edge_runtime.errors import OutputError
from crackedge.edge_runtime.notices import Notices
from crackedge.edge_runtime.records import Record
from crackedge.edge_runtime.sinks.jsonl import json_line
from crackedge.edge_runtime.stop import LOOK_S, StopFlag

if TYPE_CHECKING:
    from typing import Self

_LIMIT_S = 30.0
_STOP_S = 0.4  # that a command has when the run is asked to stop


class CommandSink:
    """Runs a shell command for each frame with cracks, one after the other; its output goes to stderr.

    The record is on its standard input as JSON, and the most of it in the environment: ``CRACKEDGE_SOURCE``,
    ``CRACKEDGE_FRAME``, ``CRACKEDGE_TIME_S``, ``CRACKEDGE_CAPTURED_AT``, ``CRACKEDGE_FILE``, ``CRACKEDGE_REGIONS`` (how
    many), ``CRACKEDGE_SCORE`` and ``CRACKEDGE_BBOX`` (x0 y0 x1 y1, of the region with the highest score).

    Args:
        command: for ``/bin/sh``.
        notices: where to say that it fails.
        limit_s: how long it may take; it is killed then, with all that it started.
        stop: ends it soon, and no other is begun.

    Attributes:
        dropped: frames with cracks for which it was not run any more.
    """

    def __init__(
        self, command: str, *, notices: Notices, limit_s: float = _LIMIT_S, stop: StopFlag | None = None
    ) -> None:
        self.name = "exec"  # the command may hold a password
        self._command, self._limit_s, self._notices = command, limit_s, notices
        self._stop = stop or StopFlag()
        self.dropped = 0
        self._source = ""
        self._runs = self._failed = 0
        self._reason = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def note(self, record: Record) -> None:
        """Run the command for a frame with cracks; see :class:`crackedge.edge_runtime.sinks.sink.RecordSink`."""
        if record["type"] == "header":
            self._source = record["source"]["uri"]
        if record["type"] != "frame" or not record["cracked"]:
            return
        if self._stop():
            self.dropped += 1
            return
        self._runs += 1
        reason = self._run(json_line(record).rstrip(), {**os.environ, **self._environment(record)})
        if reason and not self._failed:
            self._reason = reason
            self._notices.warn(f"{self.name}: the command {reason}; it is run again for the next crack")
        self._failed += bool(reason)

    def finish(self) -> None:
        """Say whether it failed; see :class:`crackedge.edge_runtime.sinks.sink.RecordSink`."""
        if self._failed:
            raise OutputError(
                f"{self.name}: the command failed {self._failed} of {self._runs} times (it {self._reason})"
            )

    def _environment(self, record: Record) -> dict[str, str]:
        best = record["regions"][0]
        values = {
            "SOURCE": self._source,
            "FRAME": record["index"],
            "TIME_S": record["time_s"],
            "CAPTURED_AT": record.get("captured_at", ""),
            "FILE": record.get("file", ""),
            "REGIONS": len(record["regions"]),
            "SCORE": best["score"],
            "BBOX": " ".join(map(str, best["bbox"])),
        }
        return {f"CRACKEDGE_{name}": str(value) for name, value in values.items()}

    def _run(self, text: bytes, environment: dict[str, str]) -> str | None:
        """What went wrong, if something did."""
        try:
            process = subprocess.Popen(  # noqa: S602 - what the user typed for that
                self._command,
                shell=True,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=2,  # results may go to stdout
                start_new_session=True,  # Ctrl-C is for the run, and all of it can be killed
            )
        except OSError as error:
            return f"cannot be started ({error.strerror})"
        ends_s, rest = time.monotonic() + self._limit_s, text or None
        while True:
            try:
                process.communicate(rest, timeout=LOOK_S)
            except subprocess.TimeoutExpired:
                now_s, rest = time.monotonic(), None  # it goes on with what it was given
                if self._stop():
                    ends_s = min(ends_s, now_s + _STOP_S)
                if now_s < ends_s:
                    continue
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                return "was stopped with the run" if self._stop() else f"took more than {self._limit_s:g} s"
            code = process.returncode
            return None if code == 0 else f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
