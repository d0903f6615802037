"""Metrics of every request: a counter and a histogram of durations."""

from __future__ import annotations

import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.limits import QUERY, is_query
from app.metrics import Meters
from app.middleware.scopes import route_path

UNKNOWN: Final = "unknown"
"""The path label of requests without a route, so that callers cannot invent labels, and of requests
that a middleware refused."""
_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_WEBSOCKET: Final = "WEBSOCKET"
_DISCONNECTED: Final = "left"
"""The status label if the client disconnected before a response."""


class RequestMetricsMiddleware:
    """Records method, path template, status and duration of each request."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self._app = app
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and record its response."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        root = scope.get("root_path", "")
        began = time.perf_counter()
        status = _DISCONNECTED

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            elif message["type"] == "websocket.close":
                status = str(message.get("code", 1000))
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        finally:
            path = _template(scope, root)
            if scope["type"] == "websocket":
                self._meters.answered(_WEBSOCKET, path, status, None)
            else:
                method = scope["method"] if scope["method"] in _METHODS else "other"
                self._meters.answered(method, path, status, time.perf_counter() - began)


def _template(scope: Scope, root: str) -> str:
    """The path template of the route, such as ``/gif/{policy}/{seed}.gif``, set by the router."""
    if (route := scope.get("route")) is not None:
        return str(route.path)
    if "endpoint" not in scope:
        # A middleware refused it. The label tells overload of queries from overload of others.
        return QUERY if is_query(route_path(scope)) else UNKNOWN
    if (mounted := scope.get("root_path", "")) != root:
        return f"{mounted.removeprefix(root)}/…"
    # FastAPI's own pages, whose paths have no parameters.
    return UNKNOWN if scope.get("path_params") else str(scope["path"])
