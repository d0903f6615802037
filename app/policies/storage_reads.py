"""Storage, read beside the event loop: by few threads, and within a time limit for who waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Final, TypeVar

T = TypeVar("T")

_THREADS: Final = 4
LIMIT_S: Final = 5.0
"""Longest wait for a file or two."""


class StorageReads:
    """Reads storage in threads that nothing else needs. It belongs to one event loop.

    Storage that takes connections and never answers holds a thread for as long as its own time
    limits allow, or for ever where it is a mounted disk; who waits is let go after the limit. From
    then on one asks at a time, and the others are refused at once, until an answer comes.
    """

    def __init__(self, root: str, *, limit_s: float = LIMIT_S) -> None:
        """Get ready.

        Args:
            root: The storage root, for messages.
            limit_s: Longest wait for a read.
        """
        self._root = root
        self._limit_s = limit_s
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="storage")
        self._hangs = False
        self._probing = False

    async def read(self, work: Callable[[], T]) -> T:
        """Run what reads a file or two, and wait for it.

        Args:
            work: Goes on in its thread when its time is up, and its result is lost.

        Raises:
            TimeoutError: Storage did not answer within the limit, or has not answered the one who
                asks at the moment. As every OSError it says that storage is away.
            Exception: Whatever the work raises.
        """
        self.check()
        if not self._hangs:
            return await self._run(work)
        self._probing = True
        try:
            return await self._run(work)
        finally:
            self._probing = False

    def begin(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Run what reads many files, one after the other, for whoever waits for it.

        It may take long where storage is healthy: that it has not ended says nothing about storage,
        and nobody is refused for it. That it succeeds says that storage answers.
        """
        running = self._start(work)
        running.add_done_callback(self._ended)
        return running

    def check(self) -> None:
        """Raise TimeoutError where a read would be refused at once: for who would wait before."""
        if self._hangs and self._probing:
            raise TimeoutError(f"{self._root} does not answer at the moment")

    def close(self) -> None:
        """Give up what is waiting."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        running = self._start(work)
        done, _ = await asyncio.wait([running], timeout=self._limit_s)
        if not done:
            self._hangs = True
            # Where no thread has taken it yet, none will.
            running.cancel()
            raise TimeoutError(f"{self._root} did not answer within {self._limit_s:g} s")
        self._hangs = False
        return running.result()

    def _start(self, work: Callable[[], T]) -> asyncio.Future[T]:
        # With the caller's context, so that log lines of the work name its request.
        run = copy_context().run
        running = asyncio.get_running_loop().run_in_executor(self._threads, run, work)
        # Asking for the exception marks it as seen, should nobody wait any more.
        running.add_done_callback(lambda future: future.cancelled() or future.exception())
        return running

    def _ended(self, running: asyncio.Future[T]) -> None:
        if not running.cancelled() and running.exception() is None:
            self._hangs = False
