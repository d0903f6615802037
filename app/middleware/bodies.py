"""A body that nothing reads: Serve would take it in for as long as its request waits."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.problems import problem_response, problems


class RefuseBodies:
    """Refuses, with 400, a request that comes with a body and is not a POST.

    Serve reads ahead of the application without a bound, so a film's caller could send gigabytes
    while it is rendered.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look for a body, and run the application."""
        if scope["type"] != "http" or scope["method"] == "POST" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        detail = f"{scope['method']} takes no body here; what is asked for is in the address"
        response = problem_response(scope["path"], 400, detail, kind="bad-body")
        await response(scope, receive, send)


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "Transfer-Encoding" in headers or headers.get("Content-Length", "0") != "0"


def describe_bodies(document: dict[str, Any]) -> None:
    """Say in an OpenAPI document that such requests are refused."""
    for operations in document["paths"].values():
        for method, operation in operations.items():
            if method != "post":
                operation["responses"] |= {"400": problems(400)[400]}
