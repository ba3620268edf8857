"""The process' standard streams, guarded: what cannot be printed is said in one line, what cannot be logged is not."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, cast


class _Guarded:
    """A text stream that hands its errors to somebody."""

    def __init__(self, stream: TextIO, on_error: Callable[[OSError], None]) -> None:
        self._stream, self._on_error = stream, on_error

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._on_error(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._on_error(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard_streams() -> None:
    """Guard stdout and stderr until the process has ended, so that its exit code is what became of the work.

    What goes to stderr is a log: the work goes on without it, on a full disk and where it is closed. What goes to
    stdout was asked for: an :class:`~crackedge.edge_runtime.errors.OutputError` says that it is lost.
    """
    if sys.stderr is None:  # closed; its number must not go to a file of results, which libraries would then log to
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - it is open as long as the process
    sys.stderr = cast("TextIO", _Guarded(sys.stderr, lambda _: None))
    if sys.stdout is not None:
        sys.stdout = cast("TextIO", _Guarded(sys.stdout, _say_lost))


def _say_lost(error: OSError) -> None:
    if isinstance(error, BrokenPipeError):  # whoever read has enough: click ends the process without a word
        raise error
    from crackedge.edge_runtime.errors import OutputError

    sys.stdout = None  # Python would flush it at the end, fail once more, and exit with 120
    raise OutputError(f"standard output: cannot be written ({error.strerror})") from error
