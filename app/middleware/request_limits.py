"""Limits on the head of a request, and on which requests may have a body."""

from __future__ import annotations

from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.problems import Kind, error_responses, problem_response

URL_BYTES: Final = 8 * 1024
"""Longest path and query together."""
HEADERS_BYTES: Final = 32 * 1024
"""Longest names and values of all headers together."""


class RequestLimitsMiddleware:
    """Rejects a URL (414) or headers (431) that are too long, and bodies (400) of all but POST.

    Parsing a query of a megabyte would block the event loop for seconds. A body that no route reads
    would be kept by Serve, without a limit, until its request is answered.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, unless the request is too large."""
        fault = _fault(scope) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
            return
        status, kind, detail = fault
        await problem_response(scope["path"], status, detail, kind=kind)(scope, receive, send)


def _fault(scope: Scope) -> tuple[int, Kind | None, str] | None:
    """Status, kind and detail of a refusal; None for a request within the limits."""
    if len(scope["path"]) + len(scope["query_string"]) > URL_BYTES:
        return 414, None, f"path and query are longer than {URL_BYTES} bytes together"
    if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADERS_BYTES:
        return 431, None, f"the headers are longer than {HEADERS_BYTES} bytes together"
    if scope["method"] != "POST" and _has_body(scope):
        return 400, "bad-body", f"{scope['method']} takes no body; parameters belong into the URL"
    return None


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "Transfer-Encoding" in headers or headers.get("Content-Length", "0") != "0"


def describe_limits(document: dict[str, Any]) -> None:
    """Add the 400 of a body to every operation of an OpenAPI document but POST."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method != "post":
                operation["responses"] |= {"400": error_responses(path, 400)[400]}
