"""A client's WebSocket connection, with limits on what it may send."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from app.driving.protocol import Close, DriveClosedError

_TEXT_BYTES: Final = 4096
_BINARY_BYTES: Final = 64 * 1024
"""Longest binary message. Many may be queued, and no picture is half as long."""
_TEXTS_PER_S: Final = 500


class ClientConnection:
    """An accepted connection."""

    def __init__(self, socket: WebSocket, idle_s: float) -> None:
        """Wrap a connection.

        Args:
            socket: The connection.
            idle_s: Longest time without a message from the client.
        """
        self._socket = socket
        self._idle_s = idle_s
        self._second = 0
        self._texts = 0
        self.send_text = socket.send_text
        self.send_bytes = socket.send_bytes

    async def receive(self) -> str | bytes:
        """Return the next message.

        Raises:
            DriveClosedError: The client is idle for too long, or exceeds a limit.
            WebSocketDisconnect: The client disconnected.
        """
        try:
            async with asyncio.timeout(self._idle_s):
                message = await self._socket.receive()
        except TimeoutError as error:
            raise DriveClosedError(Close.IDLE, f"no message for {self._idle_s:g} s") from error
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"])
        # receive() returns at once while messages are queued; let other tasks run.
        await asyncio.sleep(0)
        text: str | None = message.get("text")
        if text is None:
            content: bytes = message["bytes"]
            if len(content) > _BINARY_BYTES:
                raise DriveClosedError(
                    Close.MESSAGE_TOO_BIG,
                    f"a binary message has {len(content)} bytes; at most {_BINARY_BYTES} are "
                    "accepted",
                )
            return content
        self._check(text)
        return text

    def _check(self, text: str) -> None:
        if len(text) > _TEXT_BYTES or len(text.encode()) > _TEXT_BYTES:
            raise DriveClosedError(
                Close.MESSAGE_TOO_BIG, f"a text message is longer than {_TEXT_BYTES} bytes"
            )
        second = int(asyncio.get_running_loop().time())
        if second != self._second:
            self._second, self._texts = second, 0
        self._texts += 1
        if self._texts > _TEXTS_PER_S:
            raise DriveClosedError(
                Close.PROTOCOL_ERROR, f"more than {_TEXTS_PER_S} text messages in a second"
            )
