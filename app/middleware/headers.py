"""Headers of every response: security headers, caching with a token, and request ids."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

EVERYWHERE: Final = {
    # Browsers must not guess another type than Content-Type.
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # No other page may embed the service's page, against clickjacking.
    "Content-Security-Policy": "frame-ancestors 'none'",
}
_SHARING: Final = "Cross-Origin-Resource-Policy"
REQUEST_ID: Final = "X-Request-ID"


class ResponseHeadersMiddleware:
    """Adds security headers that a response does not have already.

    Other sites may embed images, as film links are shared. They may load nothing else, and with
    ``private`` no images either; then shared caches keep nothing. CORS is separate from this.

    Serve adds ``X-Request-ID`` to HTTP responses, but not to the handshake of a WebSocket.
    """

    def __init__(self, app: ASGIApp, *, private: bool) -> None:
        self._app = app
        self._private = private

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and add headers to its response."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = Headers(scope=scope).get(REQUEST_ID)

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_to(message)
            elif message["type"] == "websocket.accept" and request_id is not None:
                message.setdefault("headers", [])
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        await self._app(scope, receive, send_more)

    def _add_to(self, start: Message) -> None:
        start.setdefault("headers", [])
        headers = MutableHeaders(scope=start)
        for name, value in EVERYWHERE.items():
            headers.setdefault(name, value)
        if self._private and (kept := headers.get("Cache-Control")) is not None:
            # Otherwise a shared cache would serve clients without the token.
            headers["Cache-Control"] = kept.replace("public", "private")
        # A 304 leaves the headers of the cached image unchanged.
        if start["status"] != 304:
            picture = headers.get("Content-Type", "").startswith("image/")
            shared = picture and not self._private
            headers.setdefault(_SHARING, "cross-origin" if shared else "same-origin")
