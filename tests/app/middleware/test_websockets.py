from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.middleware.websockets import TOO_MANY_UNREAD, WebSocketBacklogMiddleware, refuse_websocket
from tests.app.conftest import knock
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.anyio


async def test_a_long_reason_is_cut_to_what_a_frame_holds() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await refuse_websocket(receive, send, 4400, "x" + "é" * 100)

    accepted, closed = await knock(app)
    assert accepted["type"] == "websocket.accept"
    assert (closed["type"], closed["code"]) == ("websocket.close", 4400)
    assert closed["reason"] == "x" + "é" * 61


class Client:
    """Connects, sends messages at once, and then waits until it is closed."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.heard: list[Message] = []
        self.accepted, self.closed = asyncio.Event(), asyncio.Event()
        self._says: list[Message] = [{"type": "websocket.connect"}]
        self._says += [{"type": "websocket.receive", **message} for message in messages]
        self._says.append({"type": "websocket.disconnect", "code": 1000})

    async def receive(self) -> Message:
        if self._says[0]["type"] != "websocket.connect":
            await self.accepted.wait()
        if len(self._says) > 1:
            return self._says.pop(0)
        await self.closed.wait()
        return self._says[0]

    async def send(self, message: Message) -> None:
        self.heard.append(message)
        if message["type"] == "websocket.accept":
            self.accepted.set()
        if message["type"] == "websocket.close":
            self.closed.set()


async def run(app: Any, client: Client) -> None:
    scope = {"type": "websocket", "path": "/drive", "headers": []}
    async with asyncio.timeout(PATIENCE_S):
        await WebSocketBacklogMiddleware(app)(scope, client.receive, client.send)


async def test_messages_pass_in_order() -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        for _ in range(2):
            await socket.send_text(await socket.receive_text())
        await socket.close(4400, "why")

    client = Client({"text": "a"}, {"text": "b"})
    await run(echo, client)
    assert [message.get("text") for message in client.heard[1:3]] == ["a", "b"]
    assert client.heard[-1]["code"] == 4400


@pytest.mark.parametrize(
    "message", [{"bytes": bytes(1024 * 1024)}, {"text": "x"}], ids=["large", "many"]
)
async def test_a_flood_that_nobody_reads_is_closed(message: dict[str, Any]) -> None:
    ended: list[int] = []

    async def busy(scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        await client.closed.wait()
        with pytest.raises(WebSocketDisconnect):
            await socket.send_text("late")
        while (message := await receive())["type"] == "websocket.receive":
            pass
        ended.append(message["code"])

    client = Client(*[message] * 40_000)
    await run(busy, client)
    assert client.heard[-1]["type"] == "websocket.close"
    assert client.heard[-1]["code"] == TOO_MANY_UNREAD
    assert len(client.heard) == 2
    assert ended == [TOO_MANY_UNREAD]
