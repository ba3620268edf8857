"""Live sources: the newest frame first, behind deadlines that hold although a reader blocks; opened again when lost.

The newest frame waits; one that it replaces is counted as dropped. Where frames are missing a gap is put on record, and
no frame is invented.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING

from crackedge.edge_runtime.errors import CrackedgeError, LiveSourceError
from crackedge.edge_runtime.frame import Frame, Image
from crackedge.edge_runtime.sources.addresses import Kind
from crackedge.edge_runtime.sources.freeze import FreezeWatch
from crackedge.edge_runtime.sources.reader import Arrival, Capture, Reader
from crackedge.edge_runtime.sources.reconnection import Redial
from crackedge.edge_runtime.sources.source import Gap, Skipped, SourceOptions, never
from crackedge.edge_runtime.stop import LOOK_S

if TYPE_CHECKING:
    from typing import Self

_FAREWELL_S = 0.3  # for the reader to close its device; one that still blocks is left behind, and dies with the process


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStatus:
    """How a live source is doing.

    Attributes:
        connected: whether it is open and gives pictures in time.
        frames: how many frames it gave.
        dropped: how many it passed over.
        reconnections: how often it came back after a loss.
        frozen: whether it gives the same pictures again and again.
        age_s: seconds since the newest frame came; None before the first.
    """

    connected: bool
    frames: int
    dropped: int
    reconnections: int
    frozen: bool
    age_s: float | None


@dataclass(slots=True)
class _Loss:
    """Why nothing comes: what happened first, what happened last, and the error behind that."""

    first: str
    last: str
    failure: Exception | None


class LiveSource:
    """The newest frames of a capture that is opened and read in a daemon thread.

    A context manager. Frames carry the UTC moment at which they came, their position since the first one, and how
    many were passed over before them. After a loss or stall the source is opened again, at growing intervals; what
    comes then may have another size and rate. A stop that is asked for ends every wait within half a second.

    Args:
        open_capture: opens the capture; called in a thread, may block.
        uri: what it is opened from, without passwords.
        name: a short name, fit for a folder.
        kind: what it is.
        options: how long to wait for it.
        may_end: whether it can be read only once. Its end is an end like that of a file and not a loss, and it is never
            opened again.
        patient: whether a stall is waited out instead of opening the source again, because nobody is there who would
            answer: a datagram socket. So are sources that may end.
        stop: asked now and then while waiting; iteration ends when it says True.
        on_warning: called with a line as soon as the source is lost, in the thread that iterates; a gap follows once it
            is back.

    Raises:
        LiveSourceError: it cannot be opened, or not in time; while iterating: it was lost and did not come back.
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
        patient: bool = False,
        stop: Callable[[], bool] = never,
        on_warning: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.uri, self.name, self.kind = uri, name, kind
        self.frame_count: int | None = None
        self.fps: float | None = None
        self.width: int | None = None
        self.height: int | None = None
        self.skipped: list[Skipped] = []
        self.gaps: list[Gap] = []
        self.remarks: list[str] = []
        self._options, self._may_end, self._patient = options, may_end, patient or may_end
        self._stop, self._on_warning = stop, on_warning
        self._closing = False
        self._news = threading.Condition()
        self._freeze = FreezeWatch(options.freeze_s if kind in ("camera", "stream") else 0.0)  # scenes may stand still
        self._frames = self._dropped = self._reconnections = 0
        self._first_s = 0.0
        self._last: Arrival | None = None
        self._loss: _Loss | None = None

        def dial() -> Reader:
            return Reader(open_capture, name=f"reader of {name}", news=self._news)

        self._redial = Redial(dial)
        self._reader: Reader | None = dial()
        try:
            self._await_opening(self._reader)
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
            LiveSourceError: it was lost, and no frame came for ``give_up_s``.
        """
        while (arrival := self._next_arrival()) is not None:
            if self._last is None:
                self._first_s = arrival.heard_s
            self._end_loss(arrival.heard_s)
            image, index, time_s = arrival.picture(), self._frames, arrival.heard_s - self._first_s
            self._watch(image, time_s, arrival)
            self._last = arrival
            self._frames += 1
            self._dropped += arrival.dropped_before
            yield Frame(
                image,
                index,
                time_s,
                captured_at=arrival.heard_at,
                dropped_before=arrival.dropped_before,
                heard_s=arrival.heard_s,
            )
        self._end_loss(time.monotonic())

    def status(self) -> LiveStatus:
        """How it is doing now; for any thread."""
        last = self._last
        return LiveStatus(
            connected=self._loss is None and not self._closing,
            frames=self._frames,
            dropped=self._dropped,
            reconnections=self._reconnections,
            frozen=self._freeze.frozen,
            age_s=None if last is None else time.monotonic() - last.heard_s,
        )

    def _await_opening(self, reader: Reader) -> None:
        while not self._asked():
            with self._news:
                if self._news.wait_for(reader.has_begun, LOOK_S):
                    break
                trouble = self._trouble(reader)
            if trouble is not None:
                raise LiveSourceError(f"{self.uri}: {trouble}; check that it is on and reachable")
        if reader.opened_s is not None:
            self._learn(reader)
        elif isinstance(reader.failure, CrackedgeError):
            raise reader.failure
        elif reader.ended:
            raise LiveSourceError(
                f"{self.uri}: cannot be opened ({_words(reader.failure)}); check that it is on and reachable"
            ) from reader.failure

    def _learn(self, reader: Reader) -> None:
        if reader.capture is not None:
            self.fps, self.width, self.height = reader.capture.fps, reader.capture.width, reader.capture.height

    def _next_arrival(self) -> Arrival | None:
        """The next picture, from whichever reader gives one; None at the end and when told to stop."""
        while not self._asked():
            reader = self._reader
            if reader is None:
                with self._news:
                    self._news.wait(LOOK_S)
                self._recover()
                continue
            with self._news:
                self._news.wait_for(reader.has_news, LOOK_S)
                arrival = reader.take()
                trouble = self._trouble(reader) if arrival is None else None
            if arrival is not None:
                if self._loss is not None:
                    self._reconnections += 1
                    self._learn(reader)
                return arrival
            if trouble is not None:
                if reader.ended and self._may_end and reader.failure is None and self._frames:
                    return None
                self._lose(reader, trouble)
                self._recover()
        return None

    def _trouble(self, reader: Reader) -> str | None:
        """In words, what is wrong with a reader that has no picture; None while it is in time."""
        if reader.ended:
            return _words(reader.failure)
        now_s = time.monotonic()
        if reader.opened_s is None:
            late = now_s - reader.started_s > self._options.open_s
            return f"did not open within {self._options.open_s:g} s" if late else None
        heard_s = reader.opened_s if self._last is None else max(reader.opened_s, self._last.heard_s)
        return f"no frame for {self._options.read_s:g} s" if now_s - heard_s > self._options.read_s else None

    def _lose(self, reader: Reader, trouble: str) -> None:
        """Note that nothing comes, and let go of a reader that nothing will come from.

        Raises:
            LiveSourceError: it is given up.
            CrackedgeError: what is read only once has an error of its own.
        """
        if self._may_end and isinstance(reader.failure, CrackedgeError):
            raise reader.failure
        first = self._loss is None
        self._loss = _Loss(trouble if self._loss is None else self._loss.first, trouble, reader.failure)
        if self._last is None or (self._may_end and reader.ended):
            raise self._given_up(self._loss)
        self._check_patience()
        if first:
            self._on_warning(f"{self.uri}: {trouble} after {self._frames} frames; waiting for it to come back")
        if reader.ended or not self._patient:
            self._redial.leave(reader, time.monotonic())
            self._reader = None

    def _recover(self) -> None:
        """Open the source again when it is time.

        Raises:
            LiveSourceError: it is given up.
        """
        self._check_patience()
        if self._reader is None:
            self._reader = self._redial.try_again(time.monotonic())

    def _check_patience(self) -> None:
        silence_s = 0.0 if self._last is None else time.monotonic() - self._last.heard_s
        if self._loss is not None and silence_s >= self._options.give_up_s:
            raise self._given_up(self._loss)

    def _given_up(self, loss: _Loss) -> LiveSourceError:
        self._end_loss(time.monotonic())
        after = f" after {self._frames} frames" if self._frames else ""
        tries = self._redial.attempts
        again = f"; {tries} attempts to open it again did not help, the last: {loss.last}" if tries else ""
        error = LiveSourceError(
            f"{self.uri}: {loss.first}{after}{again}; check that it is on, connected and not in use elsewhere"
        )
        error.__cause__ = loss.failure
        return error

    def _end_loss(self, now_s: float) -> None:
        """Put on record what is missing up to now, where something is."""
        loss, last, self._loss = self._loss, self._last, None
        if loss is not None and last is not None:
            seconds = now_s - last.heard_s
            self.gaps.append(Gap(loss.first, self._frames, last.heard_s - self._first_s, seconds, last.heard_at))

    def _watch(self, image: Image, time_s: float, arrival: Arrival) -> None:
        """Put on record that the picture does not change any more, and when it does again, for how long it did not."""
        was_frozen, since_s = self._freeze.frozen, self._freeze.new_s
        self._freeze.see(image, time_s)
        if self._freeze.frozen != was_frozen:
            lasting_s = time_s - since_s
            reason = "the same picture until now" if was_frozen else f"the same picture for {lasting_s:.1f} s by now"
            started_at = arrival.heard_at - timedelta(seconds=lasting_s)
            self.gaps.append(Gap(reason, self._frames, since_s, lasting_s if was_frozen else None, started_at))

    def _asked(self) -> bool:
        return self._closing or self._stop()

    def _close(self) -> None:
        self._closing = True
        reader = self._reader
        if reader is not None:
            stuck = not reader.ended and self._trouble(reader) is not None
            reader.leave(farewell_s=0.0 if stuck else _FAREWELL_S)


def _words(failure: Exception | None) -> str:
    if failure is None:
        return "the stream ended"
    return str(failure) if isinstance(failure, ConnectionError) else f"{type(failure).__name__}: {failure}"
