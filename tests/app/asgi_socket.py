"""A client of an ASGI application's WebSockets, in the test's own event loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

WAIT_S = 300.0
"""Longest wait for anything: long, as machines may be slow."""


class SocketClosedError(Exception):
    """The service has closed."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class Socket:
    """One connection."""

    def __init__(self, api: FastAPI, query: str) -> None:
        self._to_service: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_service: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": "/drive",
            "raw_path": b"/drive",
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(b"host", b"car.test")],
            "client": ("127.0.0.1", 1),
            "server": ("car.test", 80),
            "subprotocols": [],
            "state": {},
        }
        self.task = asyncio.create_task(
            api(scope, self._to_service.get, self._from_service.put)  # type: ignore[arg-type]
        )

    async def accept(self) -> None:
        self._to_service.put_nowait({"type": "websocket.connect"})
        assert (await self._next())["type"] == "websocket.accept"

    def send(self, message: bytes | dict[str, Any] | str) -> None:
        if isinstance(message, bytes):
            self._to_service.put_nowait({"type": "websocket.receive", "bytes": message})
            return
        text = message if isinstance(message, str) else json.dumps(message)
        self._to_service.put_nowait({"type": "websocket.receive", "text": text})

    async def receive(self) -> dict[str, Any] | bytes:
        """The next message, text ones read as JSON; raises SocketClosedError."""
        message = await self._next()
        if message["type"] == "websocket.close":
            raise SocketClosedError(message["code"], message["reason"])
        if message.get("bytes") is not None:
            content: bytes = message["bytes"]
            return content
        document: dict[str, Any] = json.loads(message["text"])
        return document

    async def text(self) -> dict[str, Any]:
        message = await self.receive()
        assert isinstance(message, dict)
        return message

    async def until_text(self) -> dict[str, Any]:
        """The next text message, whatever else comes before."""
        while isinstance(message := await self.receive(), bytes):
            continue
        return message

    async def binary(self) -> bytes:
        message = await self.receive()
        assert isinstance(message, bytes)
        return message

    async def closed(self) -> SocketClosedError:
        """Whatever comes, wait for the end."""
        while True:
            try:
                await self.receive()
            except SocketClosedError as closed:
                await asyncio.wait_for(self.task, WAIT_S)
                return closed

    def nothing_more(self) -> bool:
        return self._from_service.empty()

    async def disconnect(self) -> None:
        """Leave, and wait until the service is done with it."""
        self._to_service.put_nowait({"type": "websocket.disconnect", "code": 1005})
        await asyncio.wait_for(self.task, WAIT_S)

    async def _next(self) -> dict[str, Any]:
        return await asyncio.wait_for(self._from_service.get(), WAIT_S)


@asynccontextmanager
async def connect(api: FastAPI, query: str) -> AsyncIterator[Socket]:
    """A connection to ``/drive`` that is accepted, and left at the end."""
    socket = Socket(api, query)
    await socket.accept()
    try:
        yield socket
    finally:
        if not socket.task.done():
            await socket.disconnect()
