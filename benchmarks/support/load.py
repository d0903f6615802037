"""HTTP clients that ask again as soon as they have a response, at little cost of their own.

``python -m benchmarks.support.load`` reads an :class:`Order` as JSON, carries it out and prints the
:class:`Result`: a process of its own, so that clients and server never share an interpreter.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, cast

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_HOST = "127.0.0.1"
_RETRY_S = 0.05


class Answer(NamedTuple):
    """What became of a request."""

    status: int
    """0 where the connection failed; the body then says how."""
    body: bytes
    sent: float
    """When, as ``time.perf_counter`` counts."""
    done: float
    head: bytes = b""
    """Status line and headers."""


class Connection(asyncio.Protocol):
    """One connection to the server, for one request at a time."""

    def __init__(self) -> None:
        self.open = False
        self._transport: asyncio.WriteTransport | None = None
        self._received = bytearray()
        self._sent = 0.0
        self._answer: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready to ask."""
        # uvloop's is none by its class.
        self._transport = cast("asyncio.WriteTransport", transport)
        self.open = True

    def connection_lost(self, error: Exception | None) -> None:
        """What is unanswered will never be."""
        self.open = False
        self._finish(0, repr(error or "the server closed the connection").encode())

    def data_received(self, data: bytes) -> None:
        """Collect until the answer is whole."""
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._received[:end]
        length = _LENGTH.search(head)
        if length is None:
            self._finish(0, b"the answer does not say its length")
            return
        start = end + 4
        if len(self._received) - start >= int(length[1]):
            self.open = not _CLOSES.search(head)
            self._finish(int(head[9:12]), bytes(self._received[start:]), bytes(head))
            self._received.clear()

    def _finish(self, status: int, body: bytes, head: bytes = b"") -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(status, body, self._sent, time.perf_counter(), head))

    async def ask(self, request: bytes) -> Answer:
        """Send a whole request, and wait for its answer."""
        assert self._transport is not None  # noqa: S101
        self._answer = asyncio.get_running_loop().create_future()
        self._sent = time.perf_counter()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


def post(path: str, body: bytes, content_type: str) -> bytes:
    """A request as it goes over the wire."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {_HOST}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def client(
    port: int, requests: Iterable[bytes], note: Callable[[Answer], None], pause_s: float = 0.0
) -> None:
    """Ask one after the other, over one connection for as long as the server keeps it.

    Args:
        port: Where the server listens.
        requests: Whole ones; each is taken when it is about to be sent.
        note: Gets every answer, in order.
        pause_s: From an answer to the next request.
    """
    loop = asyncio.get_running_loop()
    connection: Connection | None = None
    for request in requests:
        if connection is None or not connection.open:
            try:
                _, connection = await loop.create_connection(Connection, _HOST, port)
            except OSError as error:
                now = time.perf_counter()
                note(Answer(0, repr(error).encode(), now, now))
                await asyncio.sleep(_RETRY_S)
                continue
        note(await connection.ask(request))
        if pause_s:
            await asyncio.sleep(pause_s)
    if connection is not None:
        connection.close()


@dataclass(frozen=True)
class Order:
    """Ask for the same thing over and over."""

    port: int
    path: str
    content_type: str
    body: str
    """In base64."""
    clients: int
    seconds: float


@dataclass(frozen=True)
class Result:
    """How it went."""

    answered: int
    """Answers of status 200 within the time."""
    failed: int
    """Other answers, and requests that got none."""
    seconds: float
    p50_ms: float
    p99_ms: float
    own_ms: float
    """Processor time that the clients themselves took for a request."""
    fault: str
    """The first failure."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds


async def carry_out(order: Order) -> Result:
    """Ask from as many clients and for as long as it says."""
    request = post(order.path, base64.b64decode(order.body), order.content_type)
    answers: list[Answer] = []
    begin, own = time.perf_counter(), time.process_time()
    end = begin + order.seconds

    def until_the_end() -> Iterator[bytes]:
        while time.perf_counter() < end:
            yield request

    async with asyncio.TaskGroup() as group:
        for _ in range(order.clients):
            group.create_task(client(order.port, until_the_end(), answers.append))
    return sum_up(answers, order.seconds, end, time.process_time() - own)


def sum_up(answers: list[Answer], seconds: float, end: float, own_s: float) -> Result:
    """What the answers to an order come to.

    Args:
        answers: All that came.
        seconds: How long was asked.
        end: When that was over; what was answered later does not count.
        own_s: Processor time that asking took.
    """
    failures = [answer for answer in answers if answer.status != 200]
    times = sorted(a.done - a.sent for a in answers if a.status == 200 and a.done <= end)
    return Result(
        answered=len(times),
        failed=len(failures),
        seconds=seconds,
        p50_ms=1000 * quantile(times, 0.5),
        p99_ms=1000 * quantile(times, 0.99),
        own_ms=1000 * own_s / max(1, len(answers)),
        fault=f"{failures[0].status} {failures[0].body[:200]!r}" if failures else "",
    )


def quantile(ascending: list[float], share: float) -> float:
    """The value below which this share lies; NaN of nothing."""
    return ascending[int(share * (len(ascending) - 1))] if ascending else float("nan")


def measure(order: Order) -> Result:
    """Have it carried out by a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.support.load"],
        input=json.dumps(asdict(order)),
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Result(**json.loads(done.stdout))


def main() -> None:
    """Carry out what is read."""
    order = Order(**json.load(sys.stdin))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(asdict(runner.run(carry_out(order)))))


if __name__ == "__main__":
    main()
