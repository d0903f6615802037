"""The head of a request, which nothing below the application bounds."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.problems import problem_response

ADDRESS_BYTES: Final = 8 * 1024
"""Longest path and query together."""
HEADERS_BYTES: Final = 32 * 1024
"""Longest names and values of all headers together."""


class RefuseLongHeads:
    """Refuses, with 414 or 431, an address or headers that no one needs.

    To take a query of a megabyte apart holds the event loop for seconds, and its answer may be
    twenty times as long.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Measure the head, and run the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        fault = _fault(scope)
        if fault is None:
            await self._app(scope, receive, send)
            return
        status, detail = fault
        await problem_response(scope["path"], status, detail)(scope, receive, send)


def _fault(scope: Scope) -> tuple[int, str] | None:
    """The status of a refusal, and why; None where there is nothing to refuse."""
    if len(scope["path"]) + len(scope["query_string"]) > ADDRESS_BYTES:
        return 414, f"path and query are longer than {ADDRESS_BYTES} bytes together"
    if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADERS_BYTES:
        return 431, f"the headers are longer than {HEADERS_BYTES} bytes together"
    return None
