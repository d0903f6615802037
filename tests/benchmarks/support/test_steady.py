from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Callable
from itertools import count, pairwise

import pytest

from benchmarks.support.load import Answer
from benchmarks.support.running import free_port
from benchmarks.support.steady import LATE, LOST, REFUSED, Call, Order, Steady, judge, steady
from tests.benchmarks.serving import serving

GET = "GET /{number} HTTP/1.1\r\nHost: test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
LATER = b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"
PROBLEM = (
    b"HTTP/1.1 500 Oh\r\nContent-Type: application/problem+json\r\nContent-Length: 2\r\n\r\n{}"
)


def order(port: int, attempts: int = 12, timeout_s: float = 120.0) -> Order:
    request = base64.b64encode(GET.encode()).decode()
    return Order(port, request, 50.0, attempts, timeout_s)


def carried_out(answer: Callable[[bytes], bytes], requests: int, attempts: int = 12) -> list[Call]:
    """The calls of an order that is stopped once so many have been answered."""

    async def run() -> list[Call]:
        stop, answered = asyncio.Event(), count(1)

        def note(head: bytes) -> bytes:
            if next(answered) == requests:
                stop.set()
            return answer(head)

        async with serving(note) as port:
            load = Steady(order(port, attempts))
            await load.run(stop)
        return load.calls

    return asyncio.run(run())


def test_each_request_is_due_a_moment_after_the_one_before_and_has_its_number() -> None:
    heads: list[bytes] = []

    def answer(head: bytes) -> bytes:
        heads.append(head)
        return OK

    calls = carried_out(answer, 6)
    assert all(call.outcomes == ("200",) and call.raw and call.answered for call in calls)
    due = sorted(call.due for call in calls)
    gaps = [later - earlier for earlier, later in pairwise(due)]
    assert gaps == pytest.approx([1 / 50.0] * len(gaps))
    numbers = {int(head.split()[1][1:]) for head in heads}
    assert numbers == set(range(len(calls)))


def test_who_is_told_to_come_back_does() -> None:
    seen: set[bytes] = set()

    def answer(head: bytes) -> bytes:
        first = head not in seen
        seen.add(head)
        return LATER if first else OK

    calls = carried_out(answer, 6)
    for call in calls:
        assert call.outcomes == ("503 later", "200")
        assert not call.raw
        assert call.failed_at is not None
        assert call.due < call.sent < call.failed_at < call.done
        assert call.seconds >= 0.1


def test_attempts_are_bounded_and_what_is_refused_for_good_is_not_asked_again() -> None:
    assert {call.outcomes for call in carried_out(lambda _: LATER, 6, attempts=2)} == {
        ("503 later", "503 later")
    }
    calls = carried_out(lambda _: PROBLEM, 3)
    assert {call.outcomes for call in calls} == {("500",)}
    assert not any(call.answered for call in calls)


def test_nobody_listens() -> None:
    async def run() -> list[Call]:
        load, stop = Steady(order(free_port(), attempts=2)), asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, stop.set)
        await load.run(stop)
        return load.calls

    calls = asyncio.run(run())
    assert {call.outcomes for call in calls} == {(REFUSED, REFUSED)}


def test_nobody_answers() -> None:
    async def run(port: int) -> list[Call]:
        load, stop = Steady(order(port, timeout_s=0.2)), asyncio.Event()
        asyncio.get_running_loop().call_later(0.01, stop.set)
        await load.run(stop)
        return load.calls

    with socket.create_server(("127.0.0.1", 0)) as deaf:
        calls = asyncio.run(run(deaf.getsockname()[1]))
    assert {call.outcomes for call in calls} == {(LATE,)}


def test_what_answers_are() -> None:
    assert judge(Answer(0, b"reset", 0, 0)) == (LOST, 0.0)
    assert judge(Answer(503, b"", 0, 0, LATER.partition(b"\r\n\r\n")[0])) == ("503 later", 0.0)
    assert judge(Answer(500, b"", 0, 0, PROBLEM.partition(b"\r\n\r\n")[0])) == ("500", None)
    assert judge(Answer(500, b"", 0, 0, b"HTTP/1.1 500 Oh")) == ("500", 0.0)


def test_a_process_of_its_own_says_what_became_of_the_calls() -> None:
    async def run() -> list[Call]:
        enough, answered = asyncio.Event(), count(1)

        def answer(_: bytes) -> bytes:
            if next(answered) == 3:
                loop.call_soon_threadsafe(enough.set)
            return OK

        loop = asyncio.get_running_loop()
        async with serving(answer) as port:
            underway = steady(order(port))
            load = await asyncio.to_thread(underway.__enter__)
            await enough.wait()
            await asyncio.to_thread(underway.__exit__, None, None, None)
        return load.calls

    calls = asyncio.run(run())
    assert len(calls) >= 3
    assert {call.outcomes for call in calls} == {("200",)}
