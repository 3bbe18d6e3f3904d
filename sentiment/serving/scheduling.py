"""Work of many requests: texts in common batches, and what takes seconds one piece at a time."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import ClientDisconnect, Request

from sentiment.serving.limits import Places

MAX_BATCH = 128  # texts of one forward pass
MAX_SHARE = 32  # texts of one request among them, so that a large one does not hold up small ones
MAX_WAITING = 16  # requests for slow work; those of clients that left do not count
PAUSE = 0.2  # seconds between two looks whether the client is still there


@dataclass
class _Request:
    texts: Sequence[str]
    done: asyncio.Future[list[Any]]  # takes all answers
    answers: list[Any] = field(default_factory=list)  # so far


class Batcher:
    """Collects the texts of all waiting requests while a batch is computed, and computes them together.

    `compute` answers texts, in their order, in a thread of its own.
    """

    def __init__(self, compute: Callable[[Sequence[str]], Sequence[Any]]) -> None:
        self._compute = compute
        self._waiting: deque[_Request] = deque()
        self._thread = ThreadPoolExecutor(1)
        self._running: asyncio.Task[None] | None = None

    async def submit(self, texts: Sequence[str]) -> list[Any]:
        """The answers to texts, in their order."""
        if not texts:
            return []
        request = _Request(texts, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await request.done

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while shares := self._take_shares():
            texts = [text for _, share in shares for text in share]
            try:
                answers = iter(await loop.run_in_executor(self._thread, self._compute, texts))
            except Exception as error:
                for request, _ in shares:
                    if not request.done.done():
                        request.done.set_exception(error)
                continue
            for request, share in shares:
                request.answers += [next(answers) for _ in share]
                if request.done.done():  # its client has left
                    continue
                if len(request.answers) == len(request.texts):
                    request.done.set_result(request.answers)
                else:
                    self._waiting.append(request)

    def _take_shares(self) -> list[tuple[_Request, Sequence[str]]]:
        """The next batch: of every request in turn, at most `MAX_SHARE` texts."""
        shares: list[tuple[_Request, Sequence[str]]] = []
        size = 0
        while self._waiting and size < MAX_BATCH:
            request = self._waiting.popleft()
            if not request.done.done():
                first = len(request.answers)
                share = request.texts[first : first + min(MAX_SHARE, MAX_BATCH - size)]
                shares.append((request, share))
                size += len(share)
        return shares


class SlowWork:
    """Runs work in a thread, one piece at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._turn = asyncio.Semaphore(1)
        self._places = Places(MAX_WAITING)

    async def run(self, request: Request, work: Callable[[Callable[[], None]], Any]) -> Any:
        """The result of some work, once it is its turn.

        The work is passed a function to call between its steps, which ends it if the client has left.
        """
        has_left = threading.Event()
        result = None

        def check() -> None:
            if has_left.is_set():
                raise ClientDisconnect

        with self._places.take():
            async with self._turn:
                try:
                    while not result or not (await asyncio.wait([result], timeout=PAUSE))[0]:
                        if await request.is_disconnected():
                            has_left.set()
                            check()
                        loop = asyncio.get_running_loop()
                        result = result or loop.run_in_executor(self._thread, work, check)
                    return result.result()
                finally:
                    has_left.set()
                    if result:
                        result.cancel()
