"""Limits of a request: its size, and who may send it."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True)
class Limits:
    """What one request may hold.

    Attributes:
        max_texts: texts of a request.
        max_characters: characters of a text.
        max_megabytes: megabytes of a body, such as a file.
    """

    max_texts: int
    max_characters: int
    max_megabytes: int

    @property
    def max_bytes(self) -> int:
        """Bytes of a body."""
        return self.max_megabytes * 1_000_000


class ProtectRequests:
    """ASGI middleware: ends the reading of a body that is too large with error 413, and adds headers to all answers.

    Args:
        app: what answers the requests.
        limits: of the body.
        headers: of every answer.
    """

    def __init__(self, app: ASGIApp, limits: Limits, headers: Mapping[str, str]) -> None:
        self.app = app
        self.limits = limits
        self.headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"")
        size = int(declared) if declared.isdigit() else 0

        async def receive_limited() -> Message:
            nonlocal size
            message = await receive() if size <= self.limits.max_bytes else {}
            size += 0 if declared else len(message.get("body", b""))
            if size > self.limits.max_bytes:
                raise HTTPException(413, f"body: larger than {self.limits.max_megabytes} MB, the limit of this server")
            return message

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self.headers]
            await send(message)

        await self.app(scope, receive_limited, send_with_headers)
