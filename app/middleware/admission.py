"""Admission control: how many requests a replica holds at once, and how many bytes of bodies."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.limits import HEALTH, LARGEST_BODIES, PROBES, is_query, max_other_requests
from app.middleware.scopes import route_path
from app.middleware.websockets import TRY_AGAIN, refuse_websocket
from app.problems import ProblemError, busy, problem_response

_LENGTH_DIGITS: Final = 18
"""Longest ``Content-Length`` to read: Python refuses to convert thousands of digits."""
_SILENCE_S: Final = 1.0
"""A query whose body has been silent for this long yields its place to a new query."""


@dataclass(eq=False)
class _Upload:
    """A body that is arriving."""

    timer: asyncio.Timeout
    heard_at: float
    displaced: bool = False
    """Whether it has given its place to another query."""


class AdmissionMiddleware:
    """Admits queries and other requests up to a limit each, and health probes always.

    A request over the limit gets 503 with ``Retry-After`` at once; a WebSocket is closed with 1013.

    The body of a query is read here, before the application runs. It is charged byte by byte as it
    arrives, so a client that sends nothing takes no memory from others. It does take one of the
    places: if all are taken, the query whose body has been silent the longest gets the 503 instead
    of the new one.
    """

    def __init__(
        self, app: ASGIApp, *, max_queries: int, max_body_bytes: int, body_timeout_s: float
    ) -> None:
        """Start with nothing admitted.

        Args:
            app: The application.
            max_queries: Queries that are read, waiting or decided at once.
            max_body_bytes: Longest body of a query. All bodies together may be
                ``LARGEST_BODIES`` times as long.
            body_timeout_s: Longest time that a body may take to arrive.
        """
        self._app = app
        self._max_queries = max_queries
        self._max_others = max_other_requests(max_queries)
        self._max_body_bytes = max_body_bytes
        self._max_bytes = LARGEST_BODIES * max_body_bytes
        self._body_timeout_s = body_timeout_s
        self._queries = 0
        self._others = 0
        self._bytes = 0
        self._uploads: set[_Upload] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application if there is room for the request."""
        path = route_path(scope) if scope["type"] in ("http", "websocket") else HEALTH
        if path.startswith(PROBES):
            await self._app(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "POST" and is_query(path):
            await self._run_query(scope, receive, send)
        elif self._others >= self._max_others:
            error = busy(f"{self._others} requests are in progress already")
            if scope["type"] == "websocket":
                await refuse_websocket(receive, send, TRY_AGAIN, str(error))
            else:
                await _answer(error, scope, receive, send)
        else:
            self._others += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._others -= 1

    async def _run_query(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._enter(Headers(scope=scope))
        except ProblemError as error:
            await _answer(error, scope, receive, send)
            return
        chunks: list[bytes] = []
        try:
            try:
                arrived = await self._read(receive, chunks)
            except ProblemError as error:
                await _answer(error, scope, receive, send)
                return
            if arrived:
                await self._app(scope, _replay(b"".join(chunks), receive), send)
        finally:
            self._queries -= 1
            self._bytes -= sum(map(len, chunks))

    def _enter(self, headers: Headers) -> None:
        """Take a place; raises ProblemError, 413 or 503."""
        announced = headers.get("Content-Length", "")
        readable = announced.isdecimal() and len(announced) <= _LENGTH_DIGITS
        if readable and int(announced) > self._max_body_bytes:
            raise self._too_large()
        if self._queries >= self._max_queries:
            self._give_up_silent_upload()
        self._queries += 1

    async def _read(self, receive: Receive, chunks: list[bytes]) -> bool:
        """Read a body; False if the client has left. Raises ProblemError, 408, 413 or 503."""
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        length, more = 0, True
        try:
            async with asyncio.timeout(self._body_timeout_s) as timer:
                upload = _Upload(timer, began_at)
                self._uploads.add(upload)
                try:
                    while more:
                        message = await receive()
                        if message["type"] == "http.disconnect":
                            return False
                        upload.heard_at = loop.time()
                        chunk, more = message.get("body", b""), message.get("more_body", False)
                        chunks.append(chunk)
                        length += len(chunk)
                        self._bytes += len(chunk)
                        if length > self._max_body_bytes:
                            raise self._too_large()
                        if self._bytes > self._max_bytes:
                            raise busy(f"queries hold {self._max_bytes} bytes already")
                finally:
                    self._uploads.discard(upload)
        except TimeoutError as error:
            if upload.displaced:
                raise busy(f"{self._queries} queries are in progress already") from error
            raise ProblemError(
                408,
                "body-timeout",
                f"{length} bytes of the body arrived in {loop.time() - began_at:.3g} s, not all of "
                "it",
                field="body",
            ) from error
        return True

    def _give_up_silent_upload(self) -> None:
        """Make room for a query; raises ProblemError, 503, if no body is silent."""
        now = asyncio.get_running_loop().time()
        upload = min(self._uploads, key=lambda upload: upload.heard_at, default=None)
        if upload is None or upload.heard_at > now - _SILENCE_S:
            raise busy(f"{self._queries} queries are in progress already")
        self._uploads.remove(upload)
        upload.displaced = True
        if not upload.timer.expired():
            upload.timer.reschedule(now)

    def _too_large(self) -> ProblemError:
        return ProblemError(
            413,
            "body-too-large",
            f"the body is larger than {self._max_body_bytes} bytes",
            field="body",
        )


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that returns a whole body, and then what ``receive`` returns."""
    first: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def receive_body() -> Message:
        nonlocal first
        message, first = first, None
        return await receive() if message is None else message

    return receive_body


async def _answer(error: ProblemError, scope: Scope, receive: Receive, send: Send) -> None:
    response = problem_response(
        scope["path"],
        error.status,
        error.detail,
        kind=error.kind,
        errors=error.errors,
        headers=error.headers,
    )
    await response(scope, receive, send)
