"""Limits of a request: who may send it, its size, its time, and how many there may be."""

import asyncio
import ipaddress
import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import h11
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from sentiment.runtime.errors import shorten
from sentiment.serving.messages import answer_error

MAX_ADDRESS = 8192  # bytes of path and query
MAX_CONNECTIONS = 500  # further ones are closed at once
PERIOD = 15.0  # seconds, after which it is looked whether a client still sends or takes
MIN_BYTES = 15_000  # that it has to send or to take in each period, once it has begun


@dataclass(frozen=True)
class Limits:
    """What one request may hold: texts, characters of a text, megabytes of a body, rows of a file."""

    max_texts: int
    max_characters: int
    max_megabytes: int
    max_rows: int

    @property
    def max_bytes(self) -> int:
        return self.max_megabytes * 1_000_000


def check_limit(count: int, limit: int, what: str, name: str) -> None:
    """Answer `reviews.csv: more than 2,000 rows, the limit of this server` if a count is above a limit."""
    if count > limit:
        raise HTTPException(413, f"{name}: more than {limit:,} {what}, the limit of this server")


class Places:
    """Requests that are served or wait at a time; further ones are told to come again."""

    def __init__(self, count: int) -> None:
        self._free = count

    @contextmanager
    def take(self) -> Iterator[None]:
        if not self._free:
            raise HTTPException(503, "busy with other requests; try again in some seconds")
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


@dataclass(frozen=True)
class ProtectRequests:
    """ASGI application around another: refuses requests of other sites and bodies that are too large.

    A page of another site may send requests to any address that its visitor reaches. Browsers say so, in
    `Sec-Fetch-Site` or `Origin`, unless the site has pointed a name of its own to the address of this
    server (DNS rebinding). Hence `Host` must be an IP address, which no site can make its own, or one of
    `names`, in lower case. Every answer gets these headers.
    """

    app: ASGIApp
    limits: Limits
    names: Collection[str]
    headers: Mapping[str, str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        declared, size, started = int(headers.get("content-length", 0)), 0, False

        async def receive_limited() -> Message:
            nonlocal size
            message = await receive() if declared <= self.limits.max_bytes else {}
            size += len(message.get("body", b""))
            check_limit(max(size, declared), self.limits.max_bytes, "bytes", "body")
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        if refusal := self._find_refusal(scope, headers):
            await answer_error(*refusal)(scope, receive, send_with_headers)
            return
        if scope["method"] == "HEAD":  # the server sends no body then
            scope = {**scope, "method": "GET"}
        try:
            await self.app(scope, receive_limited, send_with_headers)
        except asyncio.CancelledError:
            if not started:
                await answer_error(503, "the server ends")(scope, receive, send_with_headers)

    def _find_refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Status and message of the answer to a request that must not reach the application."""
        host = headers.get("host", "")
        if not self._is_own(host):
            advice = "call it by its IP address, or see --allow-host"
            return 400, f"Host: {shorten(host)} is no name of this server; {advice}"
        if _is_foreign(headers, host) and scope["path"] != "/":
            return 403, "requests of other sites are refused"
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_ADDRESS:
            return 414, f"the address is longer than {MAX_ADDRESS:,} bytes"
        if "content-length" in headers and "transfer-encoding" in headers:
            return 400, "Content-Length and Transfer-Encoding exclude each other"
        return None

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in self.names or bool(ipaddress.ip_address(name))
        except ValueError:
            return False


def _is_foreign(headers: Headers, host: str) -> bool:
    """Whether a browser says that a page of another site sends the request; programs send neither header."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site not in ("same-origin", "none")
    return origin is not None and origin.partition("://")[2] != host


class Connection(H11Protocol):
    """Ends connections whose client does not go on with its request, or does not take the answer."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._request_began = math.inf  # time, while a request is incomplete
        self._received = self._unsent = 0  # bytes: received in this period, to be sent at its start
        self._is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._request_began = self.loop.time()
        self._timer = self.loop.call_later(PERIOD, self._check)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._received += len(data)
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY, h11.ERROR):
            self._request_began = math.inf
        elif self._request_began == math.inf:
            self._request_began = self.loop.time()

    def _check(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        # Once it is answered, whatever comes is read for the sake of the client only.
        sends = self._received >= MIN_BYTES and self.conn.our_state is not h11.DONE
        takes = self._unsent - unsent >= MIN_BYTES
        is_slow = self._request_began <= self.loop.time() - PERIOD and not sends
        if is_slow or (unsent and self._unsent and not takes):
            self.transport.abort()
            return
        self._received, self._unsent = 0, unsent
        self._timer = self.loop.call_later(PERIOD, self._check)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, then read on until the client has the answer: else it may see a reset instead."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        answer = answer_error(400, "not HTTP, or a head of more than 64 kB")
        headers = [*answer.raw_headers, (b"connection", b"close")]
        start = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        for event in (start, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.write_eof()
        self._is_refused = True
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
