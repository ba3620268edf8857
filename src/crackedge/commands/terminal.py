"""What the commands say while they work and when they are done: a status line, counts, JSON files."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click


class StatusLine:
    """One line on stderr that is written over and over; on a pipe, a line now and then."""

    _EVERY_S = 10.0

    def __init__(self) -> None:
        self._tty = sys.stderr.isatty()
        self._shown = ""
        self._next_s = 0.0

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(self, *error: object) -> None:
        self._clear()

    def show(self, text: str) -> None:
        """Replace the line."""
        now = time.monotonic()
        if self._tty:
            if now >= self._next_s:
                self._clear()
                self._next_s = now + 0.1
                self._shown = text[: _columns() - 1]
                click.echo(self._shown, err=True, nl=False)
        elif now >= self._next_s:
            self._next_s = now + self._EVERY_S
            click.echo(text, err=True)

    def say(self, text: str) -> None:
        """Leave a line standing."""
        self._clear()
        click.echo(text, err=True)

    def _clear(self) -> None:
        if self._shown:
            click.echo("\r" + " " * len(self._shown) + "\r", err=True, nl=False)
            self._shown = ""


def duration(seconds: float) -> str:
    """``M:SS`` or ``H:MM:SS``."""
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def count(number: int, noun: str) -> str:
    """``1 frame``, ``2 frames``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def stamp() -> str:
    """Now, for a folder's name."""
    from datetime import datetime

    return datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")


def write_json(path: Path, value: Any) -> None:
    """Write what a command found out; see :func:`write_text`."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file that a command was asked for.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        # Halves of characters, in names of files that are not UTF-8, become the escapes that JSON has for them.
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise unwritable(path, error.strerror or str(error)) from error


def unwritable(path: Path, reason: str) -> Exception:
    """The error for a file that cannot be written."""
    from crackedge.edge_runtime.errors import OutputError

    return OutputError(f"{path}: cannot be written ({reason}); give another file")


def _columns() -> int:
    return shutil.get_terminal_size().columns
