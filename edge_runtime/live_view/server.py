"""The live view over HTTP: one page for a phone or a ground station, and the same for programs.

    /              the page                       /status.json   everything in numbers
    /stream.mjpg   marked frames, ?view=scores    /metrics       the same for Prometheus
    /snapshot.jpg  the newest frame, full size    /healthz       503 when no frame was scanned for a while
    /cracks/N.jpg  a crack of the running list    /threshold     POST {"threshold": 0.6}, at once

A thread of its own serves it with Tornado; the run never waits for it. Off the loopback interface every request needs a
token, as ``?token=``, as a bearer token, or as the cookie that the page sets.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import http.client
import ipaddress
import json
import logging
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import tornado.httpserver
import tornado.iostream
import tornado.netutil
import tornado.web

from crackedge.edge_runtime.errors import OptionError, OutputError
from crackedge.edge_runtime.live_view.memory import LiveView, View, metrics

if TYPE_CHECKING:
    from typing import Self

TOKEN_VARIABLE = "CRACKEDGE_TOKEN"  # noqa: S105 - its name, not its value

_PAGE = Path(__file__).with_name("page.html")
_COOKIE = "crackedge_token"
_MOST_STREAMS = 32
_MOST_CONNECTIONS = 64  # those streams and as many others: the run needs file descriptors too
_MOST_BODY = 1 << 10
_MOST_HEADER = 1 << 13
_REQUEST_S = 10.0  # to send one
_IDLE_S = 30.0
_SLOW_S = 5.0  # for a client to take one picture
_LOOK_S = 0.02
_AGAIN_S = 1.0  # until a picture is sent again where no other follows: browsers show it only when the next one comes
_LEAST_TOKEN = 8  # characters
_START_S = 10.0
_BOUNDARY = "crackedge"
_SECURITY = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'",
}


@dataclass(frozen=True, slots=True)
class ServeAddress:
    """Where a live view is to be served.

    Attributes:
        host: name or address of the interface.
        port: 0 for any free one.
    """

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host == "localhost"


def parse_address(text: str, *, token: str | None) -> ServeAddress:
    """``PORT``, ``HOST:PORT`` or ``[IPV6]:PORT``, on the loopback interface where no host is given.

    Raises:
        OptionError: it is not that, others can reach it and there is no token, or the token cannot be used.
    """
    match = re.fullmatch(r"(?:(?P<host>[^\s:\[\]/]+|\[[0-9a-fA-F:.%]+\]):)?(?P<port>\d{1,5})", text)
    if match is None or int(match["port"]) > 65535:
        raise OptionError(f"serve {text!r}: expected PORT or HOST:PORT, such as 8000 or 0.0.0.0:8000")
    address = ServeAddress((match["host"] or "127.0.0.1").strip("[]"), int(match["port"]))
    if token is not None and len(token) < _LEAST_TOKEN:
        raise OptionError(f"a token of {len(token)} characters: expected at least {_LEAST_TOKEN}")
    if token is not None and not re.fullmatch("[!-~]+", token):
        raise OptionError("a token with a space, or beyond printable ASCII: expected letters, digits and signs alone")
    if not address.loopback and token is None:
        raise OptionError(
            f"serve {text}: others can reach it there; set a token (--serve-token, or {TOKEN_VARIABLE} in the "
            "environment)"
        )
    return address


class LiveServer:
    """Serves a live view while its ``with`` block lasts.

    Args:
        view: what to show.
        address: where.
        token: what requests must bring; None for nothing, on the loopback interface.
        set_threshold: called with the threshold that somebody chose, 0 to 1.
        unhealthy_s: without a scanned frame, until ``/healthz`` says so.

    Attributes:
        view: what it shows.
        url: of the page, without the token.

    Raises:
        OutputError: the port is taken, or the interface is not there.
    """

    def __init__(
        self,
        view: LiveView,
        address: ServeAddress,
        *,
        token: str | None = None,
        set_threshold: Callable[[float], None],
        unhealthy_s: float = 10.0,
    ) -> None:
        self.view = view
        shared = _Shared(view, token, set_threshold, unhealthy_s)
        try:
            self._sockets = tornado.netutil.bind_sockets(address.port, address.host)
        except OSError as error:
            raise OutputError(
                f"serve {address.host}:{address.port}: {error.strerror or error}; give another --serve"
            ) from error
        host = f"[{address.host}]" if ":" in address.host else address.host
        self.url = f"http://{host}:{self._sockets[0].getsockname()[1]}/"
        self._shared = shared
        self._loop = asyncio.new_event_loop()
        self._leaving = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live view", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(_START_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._leaving.set)
        self._thread.join(1.0)  # a daemon: what hangs in it does not hold up the end

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        for name in ("tornado.access", "tornado.general"):  # every odd request would be a line on stderr, token and all
            logging.getLogger(name).setLevel(logging.ERROR)
        routes: list[Any] = [
            (path, handler, {"shared": self._shared})
            for path, handler in (
                (r"/", _Page),
                (r"/stream\.mjpg", _Stream),
                (r"/snapshot\.jpg", _Snapshot),
                (r"/cracks/(\d{1,9})\.jpg", _Crop),
                (r"/status\.json", _Status),
                (r"/metrics", _Metrics),
                (r"/healthz", _Health),
                (r"/threshold", _Threshold),
            )
        ]
        nothing: dict[str, Any] = {"shared": self._shared}
        server = _Server(
            tornado.web.Application(routes, default_handler_class=_Nothing, default_handler_args=nothing),
            max_body_size=_MOST_BODY,
            max_header_size=_MOST_HEADER,
            max_buffer_size=1 << 16,
            idle_connection_timeout=_IDLE_S,
            body_timeout=_REQUEST_S,
        )
        server.add_sockets(self._sockets)
        self._ready.set()
        await self._leaving.wait()
        server.stop()
        self._shared.pool.shutdown(wait=False, cancel_futures=True)
        await server.close_all_connections()
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class _Server(tornado.httpserver.HTTPServer):
    def handle_stream(self, stream: tornado.iostream.IOStream, address: tuple[Any, ...]) -> None:
        """Serve a connection, or hang up where there are too many: those that send nothing have shown no token."""
        if len(self._connections) >= _MOST_CONNECTIONS:
            stream.close()
        else:
            super().handle_stream(stream, address)


class _Shared:
    """What all requests share."""

    def __init__(
        self, view: LiveView, token: str | None, set_threshold: Callable[[float], None], unhealthy_s: float
    ) -> None:
        self.view, self.token, self.set_threshold, self.unhealthy_s = view, token, set_threshold, unhealthy_s
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="live view encoder")  # one core of a board is enough
        self.streams = 0


class _Handler(tornado.web.RequestHandler):
    shared: _Shared

    def initialize(self, shared: _Shared) -> None:
        self.shared = shared

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        for name, value in _SECURITY.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        token = self.shared.token
        if token is None:
            # A page from elsewhere could otherwise reach in here by a name that leads to this machine.
            if not ServeAddress(self.request.host_name.strip("[]"), 0).loopback:
                self._refuse(403, "this live view is for this machine only")
            return
        bearer = self.request.headers.get("Authorization", "").removeprefix("Bearer ")
        for given in (self.get_query_argument("token", ""), bearer, self.get_cookie(_COOKIE, "") or ""):
            if hmac.compare_digest(given.encode(), token.encode()):
                return
        self._refuse(401, "a token is needed: /?token=...")

    def _refuse(self, code: int, reason: str) -> None:
        self.set_status(code)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(reason + "\n")

    def write_error(self, status_code: int, **_: Any) -> None:
        self._refuse(status_code, http.client.responses.get(status_code, "error"))

    async def encoded(self, make: Callable[[], Any]) -> Any:
        """What ``make`` gives, made off the server's thread."""
        return await asyncio.get_running_loop().run_in_executor(self.shared.pool, make)

    def send_jpeg(self, data: bytes | None) -> None:
        if data is None:
            self._refuse(404, "not there")
            return
        self.set_header("Content-Type", "image/jpeg")
        self.finish(data)


class _Nothing(_Handler):
    def prepare(self) -> None:
        super().prepare()
        if not self._finished:
            self._refuse(404, "not there")


class _Page(_Handler):
    def get(self) -> None:
        if self.shared.token is not None:
            self.set_cookie(_COOKIE, self.shared.token, httponly=True, samesite="Strict")
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(_PAGE.read_bytes())


class _Stream(_Handler):
    async def get(self) -> None:
        view = self.get_query_argument("view", "marked")
        if view not in ("marked", "scores"):
            self._refuse(400, "view: expected marked or scores")
            return
        if self.shared.streams >= _MOST_STREAMS:
            self._refuse(503, f"{_MOST_STREAMS} others are looking already")
            return
        self.set_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        self.shared.streams += 1
        try:
            await self._send(cast("View", view))
        except (tornado.iostream.StreamClosedError, TimeoutError, asyncio.TimeoutError):
            self._connection().close()
        finally:
            self.shared.streams -= 1

    async def _send(self, view: View) -> None:
        sent = 0
        while True:
            again_s = time.monotonic() + _AGAIN_S
            while self.shared.view.number == sent and not (sent and time.monotonic() > again_s):
                await asyncio.sleep(_LOOK_S)
                if self._connection().closed():
                    return
            made = await self.encoded(lambda: self.shared.view.jpeg(view))
            if made is None:
                continue
            sent, data = made
            self.write(
                f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                + data
                + b"\r\n"
            )
            await asyncio.wait_for(asyncio.ensure_future(self.flush()), _SLOW_S)

    def _connection(self) -> tornado.iostream.IOStream:
        return cast("Any", self.request.connection).stream  # type: ignore[no-any-return]


class _Snapshot(_Handler):
    async def get(self) -> None:
        self.send_jpeg(await self.encoded(self.shared.view.snapshot))


class _Crop(_Handler):
    async def get(self, number: str) -> None:
        self.send_jpeg(await self.encoded(lambda: self.shared.view.crop(int(number))))


class _Status(_Handler):
    def get(self) -> None:
        self.finish(self.shared.view.status())


class _Metrics(_Handler):
    def get(self) -> None:
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.finish(metrics(self.shared.view.status()))


class _Health(_Handler):
    def get(self) -> None:
        silence_s = self.shared.view.silence_s()
        healthy = silence_s <= self.shared.unhealthy_s
        self._refuse(200 if healthy else 503, f"{'ok' if healthy else 'no frame'}: the last {silence_s:.1f} s ago")


class _Threshold(_Handler):
    def post(self) -> None:
        """Set it. JSON only: a form of another page cannot send that."""
        value: Any = None
        if self.request.headers.get("Content-Type", "").startswith("application/json"):
            with contextlib.suppress(ValueError, AttributeError, RecursionError):
                value = json.loads(self.request.body).get("threshold")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            self._refuse(400, 'expected application/json, {"threshold": 0..1}')
            return
        self.shared.set_threshold(float(value))
        self.finish({"threshold": float(value)})
