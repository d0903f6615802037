"""Read storage off the event loop, with few threads and a timeout."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Final, TypeVar

from app.errors import StorageUnavailableError

T = TypeVar("T")

_THREADS: Final = 4
TIMEOUT_S: Final = 5.0
"""Longest wait for a file or two."""


class StorageReader:
    """Reads storage in threads of its own. It belongs to one event loop.

    This is the storage boundary: an OSError of a read becomes StorageUnavailableError. A missing
    file stays FileNotFoundError.

    Storage that accepts connections and never answers blocks a thread until its own timeout, or for
    ever if it is a mounted disk. Callers stop waiting after the timeout. From then on one caller at
    a time tries again, and the others are refused immediately, until storage answers.
    """

    def __init__(self, root: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Prepare the threads.

        Args:
            root: The storage root, for messages.
            timeout_s: Longest wait for a read.
        """
        self._root = root
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="storage")
        self._hangs = False
        self._probing = False

    async def read(self, work: Callable[[], T]) -> T:
        """Run a function that reads a file or two, and wait for its result.

        Args:
            work: Continues in its thread after the timeout; its result is dropped.

        Raises:
            StorageUnavailableError: The read failed or timed out, or storage has not answered since
                an earlier timeout.
            FileNotFoundError: A file is missing.
            Exception: ``work`` raised an error that is not an OSError.
        """
        self.check()
        if not self._hangs:
            return await self._run(work)
        self._probing = True
        try:
            return await self._run(work)
        finally:
            self._probing = False

    def start(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Start a function that reads many files; raises as :meth:`read`, but has no timeout.

        It may take long in healthy storage, so no other read is refused because of it. Its success
        shows that storage answers.
        """
        running = self._submit(work)
        running.add_done_callback(self._ended)
        return running

    def check(self) -> None:
        """Raise StorageUnavailableError if a read would be refused immediately."""
        if self._hangs and self._probing:
            raise StorageUnavailableError(f"{self._root} does not answer at the moment")

    def close(self) -> None:
        """Cancel the reads that have not started."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        running = self._submit(work)
        done, _ = await asyncio.wait([running], timeout=self._timeout_s)
        if not done:
            self._hangs = True
            # If no thread has started it yet, none will.
            running.cancel()
            raise StorageUnavailableError(
                f"{self._root} did not answer within {self._timeout_s:g} s"
            )
        self._hangs = False
        return running.result()

    def _submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        # With the caller's context, so that log lines name its request.
        run = copy_context().run
        running = asyncio.get_running_loop().run_in_executor(
            self._threads, run, self._convert_errors, work
        )
        # exception() marks the error as retrieved: there may be no waiter left.
        running.add_done_callback(lambda future: future.cancelled() or future.exception())
        return running

    def _convert_errors(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StorageUnavailableError(f"{self._root} cannot be read: {error}") from error

    def _ended(self, running: asyncio.Future[T]) -> None:
        if not running.cancelled() and running.exception() is None:
            self._hangs = False
