"""WebSockets: how they are refused, and a limit on messages that the application has not read."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

TRY_AGAIN: Final = 1013
"""Close code of a WebSocket that there is no room for at the moment."""
TOO_MANY_UNREAD: Final = 1008
"""Close code of a WebSocket whose client sends faster than the application reads."""

_REASON_BYTES: Final = 123
"""Longest reason that a close frame holds."""
_UNREAD_BYTES: Final = 8 * 1024 * 1024
"""Some 300 pictures of the larger kind."""
_MESSAGE_BYTES: Final = 256
"""Bytes that are added to the size of each message."""


def close_reason(reason: str) -> str:
    """As much of a reason as a close frame holds."""
    return reason.encode()[:_REASON_BYTES].decode(errors="ignore")


async def refuse_websocket(receive: Receive, send: Send, code: int, reason: str) -> None:
    """Accept a WebSocket and close it, so that a script in a page learns the code and the reason.

    Browsers hide the status and the body of a rejected handshake from scripts.
    """
    await receive()  # its handshake
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": code, "reason": close_reason(reason)})


class WebSocketBacklogMiddleware:
    """Closes a WebSocket with 1008 if the application leaves too many of its messages unread.

    Serve reads ahead of the application without a limit, so a flood would fill the memory.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, with a backlog of messages in front of a WebSocket."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        backlog = _Backlog(receive, send)
        reading = asyncio.create_task(backlog.fill())
        try:
            await self._app(scope, backlog.receive, backlog.send)
        finally:
            reading.cancel()


class _Backlog:
    """Messages that the application has not read yet."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._unread: asyncio.Queue[Message] = asyncio.Queue()
        self._bytes = 0
        self._closed = False

    async def fill(self) -> None:
        """Read messages until the client leaves, or sends too much."""
        while True:
            message = await self._receive()
            self._bytes += _size(message)
            if self._bytes > _UNREAD_BYTES:
                reason = f"more than {_UNREAD_BYTES} bytes of messages are unread"
                close = {"type": "websocket.close", "code": TOO_MANY_UNREAD, "reason": reason}
                await self.send(close)
                message = {"type": "websocket.disconnect", "code": TOO_MANY_UNREAD}
            self._unread.put_nowait(message)
            if message["type"] == "websocket.disconnect":
                return

    async def receive(self) -> Message:
        """The next message."""
        message = await self._unread.get()
        self._bytes -= _size(message)
        return message

    async def send(self, message: Message) -> None:
        """Send a message; raises OSError, as servers do, once the connection is closed."""
        if self._closed:
            raise OSError("the WebSocket is closed")
        self._closed = message["type"] == "websocket.close"
        await self._send(message)


def _size(message: Message) -> int:
    return _MESSAGE_BYTES + len(message.get("bytes") or message.get("text") or b"")
