"""Work that takes seconds, one piece at a time."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

MAX_WAITING = 16  # requests; those of clients that left do not count
PAUSE = 0.2  # seconds between two looks whether the client is still there


class SlowWork:
    """Runs work in a thread, one piece at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0

    async def run(self, request: Request, work: Callable[[Callable[[], None]], Any]) -> Any:
        """The result of some work, once it is its turn.

        Args:
            request: that wants it.
            work: is passed a function to call between its steps, which ends it if the client has left.

        Raises:
            HTTPException: too many requests wait.
            ClientDisconnect: the client has left.
        """
        if self._waiting >= MAX_WAITING:
            raise HTTPException(
                503, f"busy: {self._waiting} requests wait; try again in some seconds"
            )
        has_left = threading.Event()

        def check() -> None:
            if has_left.is_set():
                raise ClientDisconnect

        self._waiting += 1
        try:
            async with self._turn:
                if await request.is_disconnected():
                    raise ClientDisconnect
                result = asyncio.get_running_loop().run_in_executor(self._thread, work, check)
                try:
                    while not (await asyncio.wait([result], timeout=PAUSE))[0]:
                        if await request.is_disconnected():
                            raise ClientDisconnect
                    return result.result()
                finally:
                    has_left.set()
                    result.cancel()
        finally:
            self._waiting -= 1
