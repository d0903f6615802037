"""Limits on the queries that a process holds: how many, and the bytes of their bodies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.requests import Request

from app.problems import ProblemError, busy

_LENGTH_DIGITS = 18
"""Longest ``Content-Length`` to read: Python refuses to convert thousands of digits."""
_SILENCE_S = 1.0
"""A query whose body has been silent for this long yields its place to a new query."""


@dataclass(eq=False)
class _Upload:
    """A body that is arriving."""

    timer: asyncio.Timeout
    heard_at: float


class QueryLimiter:
    """Admits queries and reads their bodies. Its methods belong to one event loop.

    A body is charged byte by byte as it arrives, not by what it may come to, so a client that sends
    nothing takes no memory from others. It does take one of the places: when all are taken, the
    query whose body has been silent the longest is given up for the new one.
    """

    def __init__(self, max_queries: int, max_bytes: int) -> None:
        """Start empty.

        Args:
            max_queries: Queries that are read, waiting or decided at once.
            max_bytes: Bytes of all their bodies together.
        """
        self._max_queries = max_queries
        self._max_bytes = max_bytes
        self._queries = 0
        self._bytes = 0
        self._uploads: set[_Upload] = set()

    @asynccontextmanager
    async def admit(
        self, request: Request, *, max_bytes: int, timeout_s: float
    ) -> AsyncIterator[bytearray]:
        """Hold a place and the request's body, which is whole, until the end of the block.

        Args:
            request: The query.
            max_bytes: Longest body.
            timeout_s: Longest time that the body may take to arrive.

        Raises:
            ProblemError: 413, the body is too long; 408, it has not arrived in time; 503, there is
                no place for the query or no memory for its body.
        """
        if _announced_length(request) > max_bytes:
            raise _too_large(max_bytes)
        if self._queries >= self._max_queries:
            self._give_up_silent_upload()
        self._queries += 1
        content = bytearray()
        try:
            await self._receive(request, content, max_bytes, timeout_s)
            yield content
        finally:
            self._queries -= 1
            self._bytes -= len(content)

    async def _receive(
        self, request: Request, content: bytearray, max_bytes: int, timeout_s: float
    ) -> None:
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        try:
            async with asyncio.timeout(timeout_s) as timer:
                upload = _Upload(timer, began_at)
                self._uploads.add(upload)
                try:
                    async for chunk in request.stream():
                        upload.heard_at = loop.time()
                        content += chunk
                        self._bytes += len(chunk)
                        if len(content) > max_bytes:
                            raise _too_large(max_bytes)
                        if self._bytes > self._max_bytes:
                            raise busy(f"queries hold {self._max_bytes} bytes already")
                finally:
                    self._uploads.discard(upload)
        except TimeoutError as error:
            raise ProblemError(
                408,
                "body-timeout",
                f"{len(content)} bytes of the body arrived in {loop.time() - began_at:.3g} s, not "
                "all of it",
                field="body",
            ) from error

    def _give_up_silent_upload(self) -> None:
        """Make room for a query; raises ProblemError, 503, if no body is silent."""
        now = asyncio.get_running_loop().time()
        upload = min(self._uploads, key=lambda upload: upload.heard_at, default=None)
        if upload is None or upload.heard_at > now - _SILENCE_S:
            raise busy(f"{self._queries} queries are under way already")
        self._uploads.remove(upload)
        if not upload.timer.expired():
            upload.timer.reschedule(now)


def _announced_length(request: Request) -> int:
    """What ``Content-Length`` says; 0 where it is missing or unreadable."""
    announced = request.headers.get("Content-Length", "")
    readable = announced.isdecimal() and len(announced) <= _LENGTH_DIGITS
    return int(announced) if readable else 0


def _too_large(max_bytes: int) -> ProblemError:
    return ProblemError(
        413, "body-too-large", f"the body is larger than {max_bytes} bytes", field="body"
    )
