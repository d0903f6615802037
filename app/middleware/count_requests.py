"""Counts and times every request."""

from __future__ import annotations

import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.limits import QUERY
from app.metrics import Meters
from app.middleware.scopes import route_path

UNKNOWN: Final = "unknown"
"""The path of whatever there is no route for, so that callers cannot invent labels, and of what is
refused before a route is looked for."""
_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_WEBSOCKET: Final = "WEBSOCKET"
_LEFT: Final = "left"
"""The status of a caller that left before it was answered, or first."""


class CountRequests:
    """Tells the meters of each request: method, template of its path, status and seconds."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self._app = app
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and count."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        root = scope.get("root_path", "")
        began = time.perf_counter()
        status = _LEFT

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
    """The path as its route has it, ``/gif/{policy}/{seed}.gif``; the router has left it here."""
    if (route := scope.get("route")) is not None:
        return str(route.path)
    if "endpoint" not in scope:
        # Refused before it was routed. Overload of queries is to be told from that of others.
        return QUERY if route_path(scope) == QUERY else UNKNOWN
    if (mounted := scope.get("root_path", "")) != root:
        return f"{mounted.removeprefix(root)}/…"
    # The framework's own pages, whose paths have no parameters.
    return UNKNOWN if scope.get("path_params") else str(scope["path"])
