"""Records over the network: one JSON object a datagram (UDP), a line (TCP) or a message (``mqtt``)."""

from __future__ import annotations

import contextlib
import math
import socket
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from crackedge.edge_runtime.errors import OutputError
from crackedge.edge_runtime.notices import Notices
from crackedge.edge_runtime.records import Record
from crackedge.edge_runtime.sinks.jsonl import json_line
from crackedge.edge_runtime.stop import LOOK_S, StopFlag

if TYPE_CHECKING:
    from typing import Self

CONNECT_S = 3.0
SEND_S = 5.0
_DATAGRAM_BYTES = 8192  # fits every system's limit, and some few packets
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0  # between two attempts to connect
_GIVE_UP_S = 30.0
_LEAST = ("scores", "cells", "polygon")  # what a datagram that is too large does without first


class Link(Protocol):
    """One connection to whoever takes records. Opened and closed any number of times."""

    def open(self) -> None:
        """Connect.

        Raises:
            OSError: nobody is there.
        """
        ...

    def send(self, record: Record) -> None:
        """Send a record.

        Raises:
            OSError: the connection broke.
        """
        ...

    def close(self) -> None:
        """Let go of the connection, if there is one."""
        ...


class NetworkSink:
    """Sends records over a link, each opening of which begins with the header.

    When the link breaks, it is opened again, after longer and longer pauses. For a live source, frames that come
    meanwhile are dropped and counted. For a file, the run waits until it is up again, up to a limit.

    Args:
        name: what to call it, without passwords.
        link: not yet open.
        live: whether to drop instead of waiting.
        give_up_s: how long to wait.
        stop: ends a wait.
        notices: where to say that nobody is there.

    Attributes:
        dropped: frames that were not sent.
    """

    def __init__(
        self,
        name: str,
        link: Link,
        *,
        live: bool,
        notices: Notices,
        give_up_s: float = _GIVE_UP_S,
        stop: StopFlag | None = None,
    ) -> None:
        self.name, self.dropped = name, 0
        self._link, self._live, self._give_up_s, self._notices = link, live, give_up_s, notices
        self._stop = stop or StopFlag()
        self._header: Record | None = None
        self._open, self._sent = False, False
        self._next_s, self._pause_s = -math.inf, _FIRST_PAUSE_S
        self._reason = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link.close()

    def note(self, record: Record) -> None:
        """Send a record; see :class:`crackedge.edge_runtime.sinks.sink.RecordSink`."""
        if record["type"] == "header":
            self._header = record
            return
        started_s = time.monotonic()
        while not self._deliver(record):
            if self._live:
                self.dropped += record["type"] == "frame"
                return
            if self._stop() or time.monotonic() - started_s > self._give_up_s:
                raise OutputError(
                    f"{self.name}: cannot be reached ({self._reason}); check that somebody takes them there"
                )
            time.sleep(LOOK_S)

    def finish(self) -> None:
        """Say whether anything has arrived; see :class:`crackedge.edge_runtime.sinks.sink.RecordSink`."""
        if self.dropped and not self._sent:
            raise OutputError(f"{self.name}: nothing could be sent ({self._reason}); check the address")

    def _deliver(self, record: Record) -> bool:
        """Whether the record could be sent; nothing is tried while it is too early for that."""
        if not self._open and time.monotonic() < self._next_s:
            return False
        try:
            if not self._open:
                self._link.open()
                self._open = True
                if self._header is not None:
                    self._link.send(self._header)
            self._link.send(record)
        except (OSError, UnicodeError) as error:  # the latter of a host name that cannot be one
            self._link.close()
            if self._open or not self._reason:
                self._notices.warn(f"{self.name}: {_reason(error)}; trying again")
            self._open, self._reason = False, _reason(error)
            self._next_s = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            return False
        self._sent, self._pause_s = True, _FIRST_PAUSE_S
        return True


class TcpLink:
    """JSON lines to a listening program."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Connect; see :class:`Link`."""
        self._socket = socket.create_connection(self._address, CONNECT_S)
        self._socket.settimeout(SEND_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # a peer without power says nothing
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(SEND_S * 1000))

    def send(self, record: Record) -> None:
        """Send a line; see :class:`Link`."""
        assert self._socket is not None
        self._look_for_the_end(self._socket)
        self._socket.sendall(json_line(record))

    def close(self) -> None:
        """Disconnect; see :class:`Link`."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

    def _look_for_the_end(self, connection: socket.socket) -> None:
        """A peer that has closed would take one more line and lose it; what it says is of no interest."""
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while connection.recv(65536):
                continue
            raise ConnectionResetError(None, "closed by the other side")
        connection.settimeout(SEND_S)


class UdpLink:
    """One record a datagram. Whether anybody takes them is not known."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._socket: socket.socket | None = None
        self._target: tuple[Any, ...] = ()

    def open(self) -> None:
        """Look up the address; see :class:`Link`."""
        family, kind, protocol, _, self._target = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0]
        self._socket = socket.socket(family, kind, protocol)
        self._socket.settimeout(SEND_S)

    def send(self, record: Record) -> None:
        """Send a datagram; see :class:`Link`."""
        assert self._socket is not None
        self._socket.sendto(datagram(record), self._target)

    def close(self) -> None:
        """Let go of the socket; see :class:`Link`."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def datagram(record: Record, *, most: int = _DATAGRAM_BYTES) -> bytes:
    """A record as JSON of at most so many bytes.

    One that is too large does without scores, then cells, then polygons, then the regions of the lowest scores; its
    ``shortened`` names what is missing.
    """
    text = json_line(record).rstrip()
    missing: list[str] = []
    for name in _LEAST if record["type"] == "frame" else ():
        if len(text) <= most:
            return text
        regions = [{key: region[key] for key in region if key != name} for region in record["regions"]]
        record = {
            **{key: record[key] for key in record if key != name},
            "regions": regions,
            "shortened": [*missing, name],
        }
        missing, text = record["shortened"], json_line(record).rstrip()
    while len(text) > most and record.get("regions"):
        regions = record["regions"][: len(record["regions"]) // 2]
        record = {**record, "regions": regions, "shortened": [*missing, "regions"]}
        text = json_line(record).rstrip()
    if len(text) > most:  # a summary of very many skipped files, say
        text = json_line({"type": record["type"], "shortened": ["all"]}).rstrip()
    return text


def _reason(error: OSError | UnicodeError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
