"""Connections: their number, and how long a client may keep one without using it."""

import asyncio
import json
import math
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 500  # further ones are closed at once
PERIOD = 15.0  # seconds, after which it is looked whether a client still sends or takes
MIN_BYTES = 15_000  # that it has to send or to take in each period, once it has begun


class Connection(H11Protocol):
    """Ends connections whose client does not go on with its request, or does not take the answer."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._request_began = math.inf  # time, while a request is incomplete
        self._received = self._unsent = 0  # bytes: received in this period, to be sent at its start
        self._is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._request_began = self.loop.time()
        self._timer = self.loop.call_later(PERIOD, self._check)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Go on with a request."""
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
        is_answered = (
            self.conn.our_state is h11.DONE
        )  # whatever comes now is read for the sake of the client only
        sends = self._received >= MIN_BYTES and not is_answered
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
        body = json.dumps({"error": "not HTTP, or a head of more than 64 kB"}).encode()
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        start = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        for event in (start, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.write_eof()
        self._is_refused = True
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
