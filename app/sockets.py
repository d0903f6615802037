"""How a WebSocket is refused."""

from __future__ import annotations

from typing import Final

from starlette.types import Receive, Send

_REASON_BYTES: Final = 123  # what fits into the frame that closes a WebSocket


async def refuse_socket(receive: Receive, send: Send, code: int, reason: str) -> None:
    """Accept a WebSocket and close it, so that a script in a page learns the code and the reason.

    Of a handshake that is refused with a status it would learn nothing.
    """
    await receive()  # its handshake
    await send({"type": "websocket.accept"})
    cut = reason.encode()[:_REASON_BYTES].decode(errors="ignore")
    await send({"type": "websocket.close", "code": code, "reason": cut})
