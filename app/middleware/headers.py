"""What every answer says besides its content: which request it is of, and how browsers treat it."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

EVERYWHERE: Final = {
    # What an answer is, is what its Content-Type says.
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # A page that lays the service's under its own could make people click in it.
    "Content-Security-Policy": "frame-ancestors 'none'",
}
_SHARING: Final = "Cross-Origin-Resource-Policy"
REQUEST_ID: Final = "X-Request-ID"
PLAIN_ID: Final = "[A-Za-z0-9._:-]{1,128}"
"""Of a caller's own request id, all of it: what is kept."""


class AddHeaders:
    """Adds the headers that every answer has, unless the answer has its own.

    Other pages may show pictures: a film's address is made to be passed on. They may load nothing
    else, and with ``private`` no pictures either, nor may caches in between keep any. What CORS
    lets a page fetch is not touched by it.

    Serve adds ``X-Request-ID`` to HTTP's answers itself, and forgets it where a WebSocket begins.
    """

    def __init__(self, app: ASGIApp, *, private: bool) -> None:
        self._app = app
        self._private = private

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and add to what it answers."""
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
            # Else a cache in between would answer those who have no token.
            headers["Cache-Control"] = kept.replace("public", "private")
        # A 304 leaves what the browser has noted of the picture that it keeps.
        if start["status"] != 304:
            picture = headers.get("Content-Type", "").startswith("image/")
            shared = picture and not self._private
            headers.setdefault(_SHARING, "cross-origin" if shared else "same-origin")
