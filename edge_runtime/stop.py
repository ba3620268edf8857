"""Stopping: a flag that signals raise, so that a run ends between two frames with everything closed."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

LOOK_S = 0.05  # how often a wait looks whether to stop
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class StopFlag:
    """Says whether to stop, when called.

    A plain attribute instead of an event: a signal handler runs in the middle of anything, and an event's lock could
    be held there.

    Attributes:
        signal: number of the signal that asked for it; None for other reasons or while nobody asked.
        asked_s: when it was first asked for, on the monotonic clock; infinite while nobody asked.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.asked_s = math.inf

    def __call__(self) -> bool:
        """Whether somebody asked to stop."""
        return self.asked_s < math.inf

    def ask(self, signal_number: int | None = None) -> None:
        """Ask to stop. The first signal is the one that counts."""
        if self.signal is None:
            self.signal = signal_number
        self.asked_s = min(self.asked_s, time.monotonic())


@contextlib.contextmanager
def stop_on_signals(flag: StopFlag | None = None) -> Iterator[StopFlag]:
    """A flag that SIGINT, SIGTERM and SIGHUP raise inside the ``with`` block; a second one ends the process at once.

    A hang-up that is ignored outside, as under ``nohup``, stays ignored. Outside the main thread, where Python takes
    no signals, the flag is only that.
    """
    flag = flag or StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def stop(number: int, _: FrameType | None) -> None:
        flag.ask(number)
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    hang_up = getattr(signal, "SIGHUP", None)
    for number, handler in before.items():
        if number != hang_up or handler != signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
