"""Batcher: texts of many requests in one forward pass."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

MAX_BATCH = 128  # texts of one forward pass
MAX_SHARE = (
    32  # texts of one request among them, so that a large request does not hold up small ones
)


@dataclass
class _Request:
    """Texts, the future that takes all answers, those so far, and whether a batch with these texts failed."""

    texts: Sequence[str]
    done: asyncio.Future[list[Any]]
    answers: list[Any] = field(default_factory=list)
    alone: bool = False


class Batcher:
    """Collects the texts of all waiting requests while a batch is computed, and computes them together.

    Args:
        compute: answers texts, in their order; runs in a thread of its own, one batch at a time.
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
        while self._waiting:
            shares = self._take_shares()
            texts = [text for _, share in shares for text in share]
            try:
                answers = await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._compute, texts
                )
            except Exception as error:
                self._handle(error, [request for request, _ in shares])
                continue
            start = 0
            for request, share in shares:
                request.answers += answers[start : start + len(share)]
                start += len(share)
                if request.done.done():  # its client has left
                    continue
                if len(request.answers) == len(request.texts):
                    request.done.set_result(request.answers)
                else:
                    self._waiting.append(request)

    def _handle(self, error: Exception, requests: Sequence[_Request]) -> None:
        """Raise the error in the request that caused it: of several, each is tried again alone."""
        for request in requests:
            if len(requests) > 1:
                request.alone = True
                self._waiting.append(request)
            elif not request.done.done():
                request.done.set_exception(error)

    def _take_shares(self) -> list[tuple[_Request, Sequence[str]]]:
        """The next batch: of every request in turn, at most `MAX_SHARE` texts."""
        shares: list[tuple[_Request, Sequence[str]]] = []
        size = 0
        while self._waiting and size < MAX_BATCH:
            if shares and self._waiting[0].alone:
                break
            request = self._waiting.popleft()
            if request.done.done():
                continue
            first = len(request.answers)
            shares.append(
                (request, request.texts[first : first + min(MAX_SHARE, MAX_BATCH - size)])
            )
            size += len(shares[-1][1])
            if request.alone:
                break
        return shares
