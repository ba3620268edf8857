"""Readers: a capture that may block for ever, from opening to closing in a thread of its own."""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Protocol

from crackedge.edge_runtime.frame import Image

Picture = Callable[[], Image]  # makes the RGB image when called: pictures that are dropped need not be converted


class Capture(Protocol):
    """Something that is read picture by picture. Used by the reader's thread only, from opening to closing.

    Attributes:
        fps: nominal frames per second, None where nobody knows.
        width: of its pictures in pixels, None where nobody knows.
        height: of its pictures in pixels, None where nobody knows.
    """

    fps: float | None
    width: int | None
    height: int | None

    def grab(self) -> Picture | None:
        """The next picture; may block. None where none came, to be asked again.

        Raises:
            EOFError: there are no more.
            ConnectionError: it was lost; says how.
        """
        ...

    def close(self) -> None:
        """Let go of it. May be called again."""
        ...


@dataclass(frozen=True, slots=True)
class Arrival:
    """A picture that came.

    Attributes:
        picture: makes the image.
        heard_s: when it came, monotonic seconds.
        heard_at: when it came, UTC.
        dropped_before: pictures that it, or one before it, replaced since the last arrival that was taken.
    """

    picture: Picture
    heard_s: float
    heard_at: datetime
    dropped_before: int


class Reader:
    """Opens and reads a capture in a daemon thread, and keeps its newest picture.

    Args:
        open_capture: opens it; called in the thread, may block.
        name: of the thread.
        news: notified of everything that happens.

    Attributes:
        started_s: when it was made, monotonic seconds.
        capture: once it is open. Only its ``fps``, ``width`` and ``height`` are for other threads.
        opened_s: when it was open, monotonic seconds.
        failure: what ended it, where it was not the end of the data.
        ended: whether no more will come.
    """

    def __init__(self, open_capture: Callable[[], Capture], *, name: str, news: threading.Condition) -> None:
        self.started_s = time.monotonic()
        self.capture: Capture | None = None
        self.opened_s: float | None = None
        self.failure: Exception | None = None
        self.ended = False
        self._open_capture, self._news = open_capture, news
        self._newest: Arrival | None = None
        self._leaving = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread still runs, or is stuck."""
        return self._thread.is_alive()

    def has_begun(self) -> bool:
        """Whether it is open, or has ended without that."""
        return self.opened_s is not None or self.ended

    def has_news(self) -> bool:
        """Whether there is a picture to take, or it has ended."""
        return self._newest is not None or self.ended

    def held_s(self, now_s: float) -> float:
        """For how long it has been open; 0 where it never was."""
        return 0.0 if self.opened_s is None else now_s - self.opened_s

    def take(self) -> Arrival | None:
        """The newest picture, once."""
        with self._news:
            taken, self._newest = self._newest, None
            return taken

    def leave(self, *, farewell_s: float = 0.0) -> None:
        """Take nothing more from it. Its capture is closed as soon as the call that it is in comes back.

        Args:
            farewell_s: how long to wait for that; one that still blocks dies with the process.
        """
        with self._news:
            self._leaving = True
            # An error knows the frames that it went through, and those know this reader: a circle that would live on.
            self._newest = self.failure = self.capture = None
        self._thread.join(farewell_s)

    def _run(self) -> None:
        failure: Exception | None = None
        capture: Capture | None = None
        try:
            capture = self._open_capture()
            self._tell(capture)
            while not self._leaving:
                picture = capture.grab()
                if picture is not None:
                    self._offer(picture)
        except EOFError:
            pass
        except Exception as error:  # whatever it is, the one who waits for pictures hears of it
            failure = error
            traceback.clear_frames(error.__traceback__)  # decoders and their threads would live as long as the error
        finally:
            with self._news:
                self.ended = True
                if not self._leaving:
                    self.failure = failure
                self._news.notify_all()
            if capture is not None:
                with contextlib.suppress(Exception):  # nobody is left to hear of it
                    capture.close()
            del failure, capture

    def _tell(self, capture: Capture) -> None:
        with self._news:
            if not self._leaving:
                self.capture, self.opened_s = capture, time.monotonic()
            self._news.notify_all()

    def _offer(self, picture: Picture) -> None:
        with self._news:
            if self._leaving:
                return
            dropped = 0 if self._newest is None else self._newest.dropped_before + 1
            self._newest = Arrival(picture, time.monotonic(), datetime.now(timezone.utc), dropped)
            self._news.notify_all()
