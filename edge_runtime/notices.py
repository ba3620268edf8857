"""Notices: what the threads of outputs have to tell, kept until the run passes it on between two frames."""

from __future__ import annotations

from collections import deque

from crackedge.edge_runtime.records import Record

_MOST = 1000  # where nobody asks for them


class Notices:
    """Warnings and records, in order. Any thread may add."""

    def __init__(self) -> None:
        self._waiting: deque[str | Record] = deque(maxlen=_MOST)

    def warn(self, text: str) -> None:
        """Add a line for whoever watches the run."""
        self._waiting.append(text)

    def note(self, record: Record) -> None:
        """Add a record for all sinks."""
        self._waiting.append(record)

    def take(self) -> list[str | Record]:
        """What has come since the last time: warnings as text, and records."""
        return [self._waiting.popleft() for _ in range(len(self._waiting))]
