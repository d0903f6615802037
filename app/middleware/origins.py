"""Cross-origin access from browsers: CARRACING_CORS_ORIGINS."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.middleware.websockets import refuse_websocket
from app.settings import ANY_ORIGIN

FOREIGN_PAGE: Final = 4403
"""Close code of a WebSocket that a page of an origin that is not allowed opens."""

_EXPOSED = (
    "ETag",
    "Location",
    "Policy-Source",
    "Policy-Version",
    "Retry-After",
    "X-Request-ID",
)
_ALLOWED = ("Authorization", "If-None-Match", "X-Request-ID")


CORS: Final[dict[str, Any]] = {
    "allow_methods": ("GET", "HEAD", "POST"),
    "allow_headers": _ALLOWED,
    "expose_headers": _EXPOSED,
}
"""Options of Starlette's ``CORSMiddleware``. Pages send the token themselves: no credentials."""


class WebSocketOriginMiddleware:
    """Closes a WebSocket that a page of an origin that is not allowed opens.

    Browsers let every page connect to any host, and send a stored Basic password along. Programs
    send no ``Origin`` and are let in.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application if the origin is allowed."""
        if scope["type"] != "websocket" or self._is_allowed(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        reason = "pages of this Origin may not connect; CARRACING_CORS_ORIGINS names those that may"
        await refuse_websocket(receive, send, FOREIGN_PAGE, reason)

    def _is_allowed(self, headers: Headers) -> bool:
        origin = headers.get("Origin")
        if origin is None or ANY_ORIGIN in self._origins or origin.lower() in self._origins:
            return True
        # Its own page. The scheme may differ: a proxy in front may terminate TLS.
        host = headers.get("Host", "")
        return origin.lower() in (f"https://{host}".lower(), f"http://{host}".lower())
