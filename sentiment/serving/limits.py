"""Limits of a request: its size, and who may send it."""

import asyncio
import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sentiment.runtime.errors import shorten
from sentiment.serving.messages import answer_error

MAX_ADDRESS = 8192  # bytes of path and query


@dataclass(frozen=True)
class Limits:
    """What one request may hold.

    Attributes:
        max_texts: texts of a request.
        max_characters: characters of a text.
        max_megabytes: megabytes of a body, such as a file.
        max_rows: rows of a file.
    """

    max_texts: int
    max_characters: int
    max_megabytes: int
    max_rows: int

    @property
    def max_bytes(self) -> int:
        """Bytes of a body."""
        return self.max_megabytes * 1_000_000


class ProtectRequests:
    """ASGI application around another: refuses requests of other sites and bodies that are too large.

    A page of another site may send requests to any address that its visitor reaches. Browsers say so, in
    `Sec-Fetch-Site` or `Origin`, unless the site has pointed a name of its own to the address of this server (DNS
    rebinding). Hence `Host` must be an IP address, which no site can make its own, or a known name.

    Args:
        app: what answers the requests.
        limits: of the body.
        names: by which the server may be called, in lower case.
        headers: of every answer.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, names: Collection[str], headers: Mapping[str, str]
    ) -> None:
        self.app = app
        self.limits = limits
        self.names = names
        self.headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        declared, size, started = int(headers.get("content-length", 0)), 0, False

        async def receive_limited() -> Message:
            nonlocal size
            message = await receive() if declared <= self.limits.max_bytes else {}
            size += len(message.get("body", b""))
            if max(size, declared) > self.limits.max_bytes:
                raise HTTPException(
                    413,
                    f"body: larger than {self.limits.max_megabytes} MB, the limit of this server",
                )
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], *self.headers]
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
            return (
                400,
                f"Host: {shorten(host)} is no name of this server; call it by its IP address, or see --allow-host",
            )
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
