from __future__ import annotations

from collections.abc import Iterable

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.middleware import sockets
from app.middleware.sockets import TRY_AGAIN, GuardedSocket, refuse_socket
from tests.app.conftest import knock

pytestmark = pytest.mark.anyio

ACCEPT: Message = {"type": "websocket.accept"}
CLOSE: Message = {"type": "websocket.close", "code": 4400, "reason": "why"}


class Client:
    """Says what it is told to, takes down what it hears, and leaves after some of it."""

    def __init__(self, says: Iterable[Message] = (), leaves_after: int = 1000) -> None:
        self.heard: list[Message] = []
        self._says = iter(says)
        self._leaves_after = leaves_after

    async def receive(self) -> Message:
        return next(self._says)

    async def send(self, message: Message) -> None:
        if len(self.heard) == self._leaves_after:
            raise OSError("gone")
        self.heard.append(message)

    def guarded(self) -> GuardedSocket:
        return GuardedSocket(self.receive, self.send)


class Clock:
    """A clock that only goes on while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 5.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sockets, "sleep", clock.sleep)
    monkeypatch.setattr(sockets, "monotonic", lambda: clock.now)
    return clock


async def test_a_long_reason_is_cut_to_what_a_frame_holds() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await refuse_socket(receive, send, 4400, "x" + "é" * 100)

    accepted, closed = await knock(app)
    assert accepted["type"] == "websocket.accept"
    assert (closed["type"], closed["code"]) == ("websocket.close", 4400)
    assert closed["reason"] == "x" + "é" * 61


async def test_a_drive_passes_as_it_is() -> None:
    says = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "a"}]
    client = Client(says)
    socket = client.guarded()
    assert [await socket.receive() for _ in says] == says
    for message in (ACCEPT, {"type": "websocket.send", "bytes": b"b"}, CLOSE):
        await socket.send(message)
    await socket.end()
    assert client.heard == [ACCEPT, {"type": "websocket.send", "bytes": b"b"}, CLOSE]


@pytest.mark.parametrize(
    ("message", "fastest"),
    [
        ({"type": "websocket.receive", "text": "x", "bytes": None}, 1000),
        ({"type": "websocket.receive", "bytes": bytes(27_648)}, 1000),
        ({"type": "websocket.receive", "bytes": bytes(10 * 27_648)}, 100),
    ],
)
async def test_a_flood_is_let_in_at_a_pace(clock: Clock, message: Message, fastest: int) -> None:
    socket = Client([message] * 3 * fastest).guarded()
    begun = clock.now
    for _ in range(3 * fastest):
        await socket.receive()
    assert clock.now - begun == pytest.approx(3 - 0.1)


async def test_messages_in_time_are_not_held_up(clock: Clock) -> None:
    socket = Client([{"type": "websocket.receive", "text": "x"}] * 500).guarded()
    for _ in range(500):
        before = clock.now
        await socket.receive()
        assert clock.now == before
        clock.now += 0.002


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_client_that_has_left_is_no_error(after: int) -> None:
    client = Client(leaves_after=after)
    socket = client.guarded()
    for message in (ACCEPT, {"type": "websocket.send", "text": "a"}, CLOSE):
        await socket.send(message)
    await socket.end()
    assert len(client.heard) == after


async def test_nothing_is_sent_to_a_client_that_has_said_goodbye() -> None:
    client = Client([{"type": "websocket.disconnect", "code": 1001}])
    socket = client.guarded()
    await socket.send(ACCEPT)
    assert (await socket.receive())["code"] == 1001
    await socket.send(CLOSE)
    await socket.end()
    assert client.heard == [ACCEPT]


@pytest.mark.parametrize("said", [[], [ACCEPT], [{"type": "http.response.start", "status": 503}]])
async def test_a_socket_that_nobody_closes_is_closed_with_a_reason(said: list[Message]) -> None:
    client = Client()
    socket = client.guarded()
    for message in said:
        await socket.send(message)
    await socket.end()
    accepted, closed = client.heard
    assert accepted == ACCEPT
    assert closed["code"] == TRY_AGAIN
    assert closed["reason"]
