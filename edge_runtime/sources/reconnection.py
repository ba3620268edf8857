"""Reconnection: how long to wait before a lost source is opened again, and how many readers may be stuck meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from crackedge.edge_runtime.sources.reader import Reader

FIRST_S = 0.5
MOST_S = 8.0
JITTER = 0.5  # of a delay: robots that lost the same access point do not all come back in the same moment
_MOST_STUCK = 1  # readers that block in a call nobody can interrupt, beside the one at work


def delays_s(
    *,
    first_s: float = FIRST_S,
    most_s: float = MOST_S,
    jitter: float = JITTER,
    draw: Callable[[], float] = random.random,
) -> Iterator[float]:
    """Seconds to wait before each attempt, without end: doubling up to ``most_s``, each shortened by chance.

    Args:
        first_s: the longest that the first one may be.
        most_s: the longest that any may be.
        jitter: the part of a delay that is up to chance, 0 to 1.
        draw: gives a number from 0 to 1.
    """
    delay_s = min(first_s, most_s)
    while True:
        yield delay_s * (1 - jitter * draw())
        delay_s = min(2 * delay_s, most_s)


class Redial:
    """Opens readers one after the other, each new one after a delay.

    Delays grow from attempt to attempt. They begin anew after a connection that held for longer than the wait before
    it, so that a source that is lost again and again is not asked more often than it serves.

    Args:
        dial: starts a reader.
        delays: makes the delays.

    Attributes:
        attempts: how often a source was opened again.
    """

    def __init__(self, dial: Callable[[], Reader], *, delays: Callable[[], Iterator[float]] = delays_s) -> None:
        self.attempts = 0
        self._dial, self._delays = dial, delays
        self._waits_s = delays()
        self._wait_s = 0.0
        self._due_s = 0.0
        self._left: list[Reader] = []

    def leave(self, reader: Reader, now_s: float) -> None:
        """Let go of a reader that failed, and set the time of the next attempt."""
        reader.leave()
        self._left.append(reader)
        if reader.held_s(now_s) > self._wait_s:
            self._waits_s = self._delays()
        self._wait_s = next(self._waits_s)
        self._due_s = now_s + self._wait_s

    def try_again(self, now_s: float) -> Reader | None:
        """A new reader, or None before its time, and while too many of those left behind are stuck."""
        self._left = [reader for reader in self._left if reader.alive]
        if now_s < self._due_s or len(self._left) > _MOST_STUCK:
            return None
        self.attempts += 1
        return self._dial()
