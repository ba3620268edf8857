"""Bounded calls: of a library that may block, waited for only so long."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from crackedge.edge_runtime.stop import LOOK_S

T = TypeVar("T")


class BoundedCalls:
    """Makes calls one after the other in a daemon thread; one that does not come back is left behind.

    Args:
        name: of the thread.
        stop: asked now and then while waiting; a call is left behind when it says True.

    Attributes:
        left: whether one was left behind. What it works with may still be in use, and no more are made.
    """

    def __init__(self, *, name: str, stop: Callable[[], bool]) -> None:
        self.left = False
        self._stop = stop
        self._calls: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def __call__(self, call: Callable[[], T], *, limit_s: float) -> T:
        """What a call gives, or raises.

        Raises:
            TimeoutError: it did not come back within ``limit_s`` seconds, or before somebody asked to stop.
        """
        if self.left:
            raise TimeoutError
        self._calls.put(call)
        end_s = time.monotonic() + limit_s
        while not (self._stop() or time.monotonic() > end_s):
            with contextlib.suppress(queue.Empty):
                answer, failure = self._answers.get(timeout=LOOK_S)
                if failure is not None:
                    raise failure
                return cast("T", answer)
        self.left = True
        self.close()
        raise TimeoutError

    def close(self) -> None:
        """Let the thread end once its call comes back. May be called again."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                answer: tuple[Any, BaseException | None] = call(), None
            except BaseException as error:  # raised again by the one who waits
                answer = None, error
            self._answers.put(answer)
            del call, answer  # what is in use is for the one who waits to keep
