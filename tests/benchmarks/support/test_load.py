from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.support.load import Answer, Order, carry_out, client, post, quantile, sum_up
from benchmarks.support.running import free_port

BODY = b"x" * 100_000
REQUEST = post("/act", BODY, "text/plain")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """As the clients are run."""
    return "asyncio", {"use_uvloop": True}


class Server:
    """Answers each request with the next of some answers, over and over."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = answers
        self.asked: list[bytes] = []
        self.connections = 0
        self.port = 0
        self._talks: list[asyncio.Task[None] | None] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield
        await asyncio.gather(*(talk for talk in self._talks if talk))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._talks.append(asyncio.current_task())
        try:
            while True:
                self.asked.append(await reader.readexactly(len(REQUEST)))
                answer = self.answers[(len(self.asked) - 1) % len(self.answers)]
                # In pieces, as a network would.
                for start in range(0, len(answer), 20):
                    writer.write(answer[start : start + 20])
                    await writer.drain()
                if b"close" in answer or not answer:
                    break
        except asyncio.IncompleteReadError:
            pass
        writer.close()
        await writer.wait_closed()


def answer(body: bytes, status: int = 200, more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


async def ask(server: Server, times: int) -> list[Answer]:
    answers: list[Answer] = []
    async with server.listening():
        await client(server.port, [REQUEST] * times, answers.append)
    return answers


@pytest.mark.anyio
async def test_answers_come_whole_and_in_order_over_one_connection() -> None:
    server = Server(answer(b"first" * 50), answer(b"", 404))
    answers = await ask(server, 4)
    assert [(each.status, each.body) for each in answers] == [
        (200, b"first" * 50),
        (404, b""),
    ] * 2
    assert all(each.sent <= each.done for each in answers)
    assert answers[1].head == b"HTTP/1.1 404 Said\r\nContent-Length: 0"
    assert server.asked == [REQUEST] * 4
    assert server.connections == 1


@pytest.mark.anyio
async def test_a_connection_that_the_server_closes_is_opened_again() -> None:
    server = Server(answer(b"yes", more="Connection: close\r\n"))
    answers = await ask(server, 3)
    assert [each.status for each in answers] == [200] * 3
    assert server.connections == 3


@pytest.mark.anyio
async def test_a_request_without_an_answer_has_failed() -> None:
    server = Server(answer(b"yes"), b"")
    answers = await ask(server, 4)
    assert [each.status for each in answers] == [200, 0, 200, 0]
    assert b"closed" in answers[1].body


@pytest.mark.anyio
async def test_nobody_there_is_a_failure_for_each_request() -> None:
    answers: list[Answer] = []
    await client(free_port(), [REQUEST] * 2, answers.append)
    assert [each.status for each in answers] == [0, 0]


@pytest.mark.anyio
async def test_an_order_is_carried_out_by_all_its_clients() -> None:
    server = Server(answer(b"busy", 503))
    body = base64.b64encode(BODY).decode()
    async with server.listening():
        result = await carry_out(Order(server.port, "/act", "text/plain", body, 3, 0.1))
    assert server.connections == 3
    assert result.answered == 0
    assert result.failed == len(server.asked) >= 3
    assert result.own_ms > 0


def test_what_is_answered_late_or_badly_does_not_count() -> None:
    answers = [
        Answer(200, b"", 1.0, 1.1),
        Answer(200, b"", 1.1, 1.4),
        Answer(200, b"", 1.9, 2.1),
        Answer(503, b"busy", 1.5, 1.6),
    ]
    result = sum_up(answers, 0.5, end=2.0, own_s=0.04)
    assert (result.answered, result.failed, result.rate) == (2, 1, 4)
    assert result.p50_ms == pytest.approx(100)
    assert result.own_ms == pytest.approx(10)
    assert result.fault == "503 b'busy'"


def test_quantiles() -> None:
    assert [quantile([1.0, 2.0, 3.0], share) for share in (0, 0.5, 1)] == [1, 2, 3]
    assert quantile([], 0.5) != quantile([], 0.5)
