"""Live sources: a reader that may block for ever, in a thread of its own, behind deadlines that hold all the same.

The newest frame waits; one that it replaces is counted as dropped.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from crackedge.edge_runtime.errors import CrackedgeError, LiveSourceError
from crackedge.edge_runtime.frame import Frame, Image
from crackedge.edge_runtime.sources import Gap, Kind, Skipped, SourceOptions, never

if TYPE_CHECKING:
    from typing import Self

_LOOK_S = 0.05  # how often a wait looks whether to stop
_FAREWELL_S = 0.5  # for the reader to close its device; one that still blocks is left behind, and dies with the process

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


class LiveSource:
    """The newest frames of a capture that is opened and read in a daemon thread.

    A context manager. Frames carry the UTC moment at which they came, their position since the first one, and how
    many were passed over before them.

    Args:
        open_capture: opens the capture; called in the thread, may block.
        uri: what it is opened from, without passwords.
        name: a short name, fit for a folder.
        kind: ``"camera"`` or ``"stream"``.
        options: how long to wait for it.
        may_end: whether an end of the data is an end like that of a file, and not a loss.
        stop: asked now and then while waiting; iteration ends when it says True.

    Raises:
        LiveSourceError: it cannot be opened, or not in time; while iterating: it was lost.
    """

    live = True

    def __init__(
        self,
        open_capture: Callable[[], Capture],
        *,
        uri: str,
        name: str,
        kind: Kind,
        options: SourceOptions,
        may_end: bool = False,
        stop: Callable[[], bool] = never,
    ) -> None:
        self.uri, self.name, self.kind = uri, name, kind
        self.frame_count: int | None = None
        self.fps: float | None = None
        self.width: int | None = None
        self.height: int | None = None
        self.skipped: list[Skipped] = []
        self.gaps: list[Gap] = []
        self._open_capture, self._may_end, self._stop = open_capture, may_end, stop
        self._read_s = options.read_s
        self._news = threading.Condition()  # guards all below
        self._capture: Capture | None = None
        self._newest: tuple[Picture, float, datetime] | None = None
        self._dropped = 0
        self._failure: Exception | None = None
        self._ended = False
        self._closing = False
        self._stuck = False
        self._thread = threading.Thread(target=self._run, name=f"reader of {name}", daemon=True)
        self._thread.start()
        try:
            self._await_opening(options.open_s)
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def __iter__(self) -> Iterator[Frame]:
        """The newest frame each time, until the source ends or is told to stop.

        Raises:
            LiveSourceError: no frame came in time, or the source was lost.
        """
        first_s: float | None = None
        index, time_s, heard_s = 0, 0.0, time.monotonic()
        heard_at = datetime.now(timezone.utc)
        while True:
            with self._news:
                while not (self._newest or self._ended or self._asked()):
                    silence_s = time.monotonic() - heard_s
                    if silence_s > self._read_s:
                        self._stuck = True
                        raise self._lost(f"no frame for {self._read_s:g} s", index, time_s, heard_s, heard_at)
                    self._news.wait(min(_LOOK_S, self._read_s))
                if self._asked():
                    return
                taken, self._newest = self._newest, None
                dropped, self._dropped = self._dropped, 0
            if taken is None:
                if self._failure is None and self._may_end and index:
                    return
                raise self._lost(_words(self._failure), index, time_s, heard_s, heard_at) from self._failure
            picture, heard_s, heard_at = taken
            first_s = heard_s if first_s is None else first_s
            time_s = heard_s - first_s
            yield Frame(picture(), index, time_s, captured_at=heard_at, dropped_before=dropped)
            index += 1

    def _lost(self, reason: str, index: int, time_s: float, heard_s: float, heard_at: datetime) -> LiveSourceError:
        if index:
            self.gaps.append(Gap(reason, index, time_s, time.monotonic() - heard_s, heard_at))
        after = f" after {index} frames" if index else ""
        return LiveSourceError(f"{self.uri}: {reason}{after}; check that it is on, connected and not in use elsewhere")

    def _asked(self) -> bool:
        return self._closing or self._stop()

    def _await_opening(self, open_s: float) -> None:
        deadline_s = time.monotonic() + open_s
        with self._news:
            while self._capture is None and not self._ended:
                if self._asked():
                    return
                if time.monotonic() > deadline_s:
                    self._stuck = True
                    raise LiveSourceError(
                        f"{self.uri}: did not open within {open_s:g} s; check that it is on and reachable"
                    )
                self._news.wait(min(_LOOK_S, open_s))
            if self._capture is not None:
                self.fps, self.width, self.height = self._capture.fps, self._capture.width, self._capture.height
        if isinstance(self._failure, CrackedgeError):
            raise self._failure
        if self._failure is not None:
            raise LiveSourceError(
                f"{self.uri}: cannot be opened ({_words(self._failure)}); check that it is on and reachable"
            ) from self._failure

    def _close(self) -> None:
        with self._news:
            self._closing = True
            self._newest = None
        if not self._stuck:
            self._thread.join(_FAREWELL_S)

    def _run(self) -> None:
        failure: Exception | None = None
        capture: Capture | None = None
        try:
            capture = self._open_capture()
            self._tell(capture)
            while not self._closing:
                picture = capture.grab()
                if picture is not None:
                    self._offer(picture)
        except EOFError:
            pass
        except Exception as error:  # whatever it is, it is raised again in the thread that iterates
            failure = error
        finally:
            with self._news:
                self._failure, self._ended = failure, True
                self._news.notify_all()
            if capture is not None:
                with contextlib.suppress(Exception):  # nobody is left to hear of it
                    capture.close()

    def _tell(self, capture: Capture) -> None:
        with self._news:
            self._capture = capture
            self._news.notify_all()

    def _offer(self, picture: Picture) -> None:
        with self._news:
            if self._closing:
                return
            self._dropped += self._newest is not None
            self._newest = picture, time.monotonic(), datetime.now(timezone.utc)
            self._news.notify_all()


def _words(failure: Exception | None) -> str:
    if failure is None:
        return "the stream ended"
    return str(failure) if isinstance(failure, ConnectionError) else f"{type(failure).__name__}: {failure}"
