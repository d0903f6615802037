"""WebSockets where no drive has them: how they are refused, and what stands before Serve."""

from __future__ import annotations

import math
from asyncio import sleep
from time import monotonic
from typing import Final

from starlette.types import Message, Receive, Send

TRY_AGAIN: Final = 1013
"""Close code where there is no room at the moment."""

_REASON_BYTES: Final = 123
"""Longest reason that a close frame holds."""

# Twice what a drive takes in texts, so that it is the drive that refuses a flood, with a reason;
# and that many pictures of the larger kind.
_MESSAGES_PER_S: Final = 1000
_BYTES_PER_S: Final = _MESSAGES_PER_S * 27_648
_BURST_S: Final = 0.1
"""What comes faster than that for so long is not held up."""


def close_reason(reason: str) -> str:
    """As much of a reason as a close frame holds."""
    return reason.encode()[:_REASON_BYTES].decode(errors="ignore")


async def refuse_socket(receive: Receive, send: Send, code: int, reason: str) -> None:
    """Accept a WebSocket and close it, so that a script in a page learns the code and the reason.

    Of a handshake that is refused with a status it would learn nothing.
    """
    await receive()  # its handshake
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": code, "reason": close_reason(reason)})


class GuardedSocket:
    """A client's WebSocket as Serve is to see it.

    Serve reads ahead of the application without a bound, fails with a traceback where the client
    has left, and says nothing, or something of HTTP, where there is no replica.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._free_at = -math.inf
        self._accepted = self._over = False

    async def receive(self) -> Message:
        """The next message; it is held back where too much comes."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._over = True
            return message
        size = len(message.get("bytes") or message.get("text") or b"")
        now = monotonic()
        self._free_at = max(self._free_at, now - _BURST_S)
        self._free_at += max(1 / _MESSAGES_PER_S, size / _BYTES_PER_S)
        if self._free_at > now:
            await sleep(self._free_at - now)
        return message

    async def send(self, message: Message) -> None:
        """Pass a message on, unless it is of HTTP or nobody is there any more."""
        if self._over or message["type"].startswith("http."):
            return
        self._accepted = self._accepted or message["type"] == "websocket.accept"
        self._over = message["type"] == "websocket.close"
        try:
            await self._send(message)
        except OSError:
            self._over = True

    async def end(self) -> None:
        """Close it where nobody has: the replica has ended, or there was none."""
        if not self._accepted:
            await self.send({"type": "websocket.accept"})
        reason = close_reason("the process that drives is not there; another takes its place")
        await self.send({"type": "websocket.close", "code": TRY_AGAIN, "reason": reason})
