"""Which other pages may use the service from a browser: CARRACING_CORS_ORIGINS."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.middleware.sockets import refuse_socket
from app.settings import ANY_ORIGIN

FOREIGN_PAGE: Final = 4403
"""Close code of a WebSocket that a page of another origin opens."""

_EXPOSED = (
    "ETag",
    "Location",
    "Policy-Source",
    "Policy-Version",
    "Retry-After",
    "X-Request-ID",
)
_TAKEN = ("Authorization", "If-None-Match", "X-Request-ID")


class SharedOrigins(CORSMiddleware):
    """Starlette's CORS for the service's methods and headers.

    Credentials that a browser keeps are not shared: a page sends the token itself.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=_TAKEN,
            expose_headers=_EXPOSED,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """What may be asked, without a body; the browser compares, so nothing is an error."""
        headers = super().preflight_response(request_headers).headers
        del headers["Content-Type"], headers["Content-Length"]
        return Response(status_code=204, headers=headers)


class RefuseForeignPages:
    """Refuses a WebSocket that a page of an origin which is not allowed opens.

    Browsers let every page open one to anywhere, and send what they keep of Basic's password along.
    A program, which sends no Origin, is let in.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look at where a WebSocket comes from, and run the application."""
        if scope["type"] != "websocket" or self._is_welcome(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        reason = "pages of this Origin may not connect; CARRACING_CORS_ORIGINS names those that may"
        await refuse_socket(receive, send, FOREIGN_PAGE, reason)

    def _is_welcome(self, headers: Headers) -> bool:
        origin = headers.get("Origin")
        if origin is None or ANY_ORIGIN in self._origins or origin.lower() in self._origins:
            return True
        # Its own page; by either scheme, as something in front may end TLS.
        host = headers.get("Host", "")
        return origin.lower() in (f"https://{host}".lower(), f"http://{host}".lower())
