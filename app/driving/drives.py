"""The open drives: how many there may be, what they read from their clients, and their end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from starlette.websockets import WebSocket, WebSocketDisconnect

from app.driving.protocol import Close, DriveClosedError

_TEXT_BYTES: Final = 4096
_BINARY_BYTES: Final = 64 * 1024
"""Longest binary message: many of them may wait, and no picture is half as long."""
_TEXTS_PER_S: Final = 500
_LEAVE_S: Final = 5.0


class Drives:
    """Counts the open drives and ends them together. It belongs to one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = 0
        self._leaving = asyncio.Event()
        self._none_left = asyncio.Event()
        self._none_left.set()

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Be one of them; raises DriveClosedError where there is no room."""
        if self._open >= self._limit:
            raise DriveClosedError(
                Close.TRY_AGAIN, f"{self._limit} drives are open here already; try again later"
            )
        self._open += 1
        self._none_left.clear()
        try:
            yield
        finally:
            self._open -= 1
            if self._open == 0:
                self._none_left.set()

    async def going_away(self) -> NoReturn:
        """Wait until the service ends; raises DriveClosedError then."""
        await self._leaving.wait()
        raise DriveClosedError(Close.GOING_AWAY, "the service is going away; connect again")

    async def close(self) -> None:
        """End all of them, those to come as well, and wait for that a moment."""
        self._leaving.set()
        try:
            async with asyncio.timeout(_LEAVE_S):
                await self._none_left.wait()
        except TimeoutError:
            return


class ClientConnection:
    """One client's connection, accepted."""

    def __init__(self, socket: WebSocket, idle_s: float) -> None:
        """Take the connection.

        Args:
            socket: The connection.
            idle_s: Longest time without a message.
        """
        self._socket = socket
        self._idle_s = idle_s
        self._second = 0
        self._texts = 0
        self.send_text = socket.send_text
        self.send_bytes = socket.send_bytes

    async def receive(self) -> str | bytes:
        """The next message.

        Raises:
            DriveClosedError: Nothing came for too long, or too much of it.
            WebSocketDisconnect: The client is gone.
        """
        try:
            async with asyncio.timeout(self._idle_s):
                message = await self._socket.receive()
        except TimeoutError as error:
            raise DriveClosedError(Close.IDLE, f"nothing arrived for {self._idle_s:g} s") from error
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"])
        # A queue that is never empty would never let anyone else run.
        await asyncio.sleep(0)
        text: str | None = message.get("text")
        if text is None:
            content: bytes = message["bytes"]
            if len(content) > _BINARY_BYTES:
                raise DriveClosedError(
                    Close.MESSAGE_TOO_BIG, f"a binary message is longer than {_BINARY_BYTES} bytes"
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


async def until_first(*works: Coroutine[Any, Any, object]) -> None:
    """Run all, until one ends or fails; the others are cancelled and have ended on return."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
