"""Requests at a fixed rate, whether or not earlier ones are answered.

Failed requests are retried as ``app.client`` does it. ``python -m benchmarks.support.steady`` reads
an :class:`Order` as JSON, carries it out until its input ends, and prints each call as JSON: a
process of its own, so that it does not wait for the process that injects the faults.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import uvloop

from app.client.retries import ATTEMPTS, least_pause_s, pause_s
from benchmarks.support.load import Answer, Connection

_HOST: Final = "127.0.0.1"
_CONNECTIONS: Final = 32
"""That are kept for later requests, as those of so many clients would be."""
REFUSED: Final = "refused"
"""The outcome of an attempt that found nobody listening: nothing was sent."""
LOST: Final = "lost"
"""The outcome of an attempt that was sent, and whose connection ended without an answer."""
LATE: Final = "late"
"""The outcome of an attempt without an answer in time."""

Verdict = tuple[str, float | None]
"""An attempt's outcome, and the least seconds before another one; None for never."""


@dataclass(frozen=True)
class Order:
    """Ask for something at a rate."""

    port: int
    request: str
    """What goes over the wire, in base64; ``{number}`` in its first line is each request's own."""
    rate: float
    """Requests a second."""
    attempts: int = ATTEMPTS
    """Of each request, at most."""
    timeout_s: float = 120.0
    """Longest time for an answer, all attempts together."""


@dataclass(frozen=True)
class Call:
    """A request, and what became of it. Times are ``time.monotonic``'s."""

    due: float
    """When it was to be sent."""
    sent: float
    """When its first attempt was sent, or found nobody."""
    done: float
    """When its last attempt was over."""
    outcomes: tuple[str, ...]
    """Of its attempts: a status, ``503 later`` where the service says when to come back, REFUSED,
    LOST or LATE."""
    failed_at: float | None = None
    """When the last attempt that failed was over; None where none did."""

    @property
    def raw(self) -> bool:
        """Whether the first attempt succeeded."""
        return self.outcomes[0] == "200"

    @property
    def answered(self) -> bool:
        """Whether an attempt succeeded."""
        return self.outcomes[-1] == "200"

    @property
    def seconds(self) -> float:
        """What its caller waited."""
        return self.done - self.due


@dataclass
class Steady:
    """Carries out an order."""

    order: Order
    calls: list[Call] = field(default_factory=list)
    _idle: deque[Connection] = field(default_factory=deque)

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until told to stop, and wait for what is still out."""
        request = base64.b64decode(self.order.request)
        begin = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in count():
                due = begin + number / self.order.rate
                try:
                    async with asyncio.timeout(max(0.0, due - time.monotonic())):
                        await stop.wait()
                    break
                except TimeoutError:
                    mine = request.replace(b"{number}", str(number).encode(), 1)
                    group.create_task(self._call(mine, due))
        while self._idle:
            self._idle.pop().close()

    async def _call(self, request: bytes, due: float) -> None:
        """Attempt it until it is answered, or not worth another try."""
        outcomes: list[str] = []
        first_sent = failed_at = None
        while True:
            left_s = due + self.order.timeout_s - time.monotonic()
            sent, (outcome, least_s) = await self._attempt(request, left_s)
            first_sent = first_sent or sent
            outcomes.append(outcome)
            if outcome == "200":
                break
            failed_at = time.monotonic()
            if least_s is None or len(outcomes) == self.order.attempts:
                break
            wait_s = pause_s(len(outcomes), least_s)
            if failed_at + wait_s > due + self.order.timeout_s:
                break
            await asyncio.sleep(wait_s)
        self.calls.append(Call(due, first_sent, time.monotonic(), tuple(outcomes), failed_at))

    async def _attempt(self, request: bytes, limit_s: float) -> tuple[float, Verdict]:
        """When it was sent, or found nobody, and what came of it."""
        connection = None
        sent = time.monotonic()
        try:
            async with asyncio.timeout(limit_s):
                connection = await self._connect()
                sent = time.monotonic()
                answer = await connection.ask(request)
        except TimeoutError:
            if connection is not None:
                connection.close()
            return sent, (LATE, None)
        except OSError:
            return time.monotonic(), (REFUSED, 0.0)
        if connection.open and len(self._idle) < _CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.close()
        return sent, judge(answer)

    async def _connect(self) -> Connection:
        """The connection that was idle for longest, or a new one; raises OSError."""
        while self._idle:
            connection = self._idle.popleft()
            if connection.open:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, _HOST, self.order.port)
        return connection


def judge(answer: Answer) -> Verdict:
    """What came of an attempt that was answered, or lost."""
    if answer.status == 0:
        return LOST, 0.0
    lines = (line.partition(b":") for line in answer.head.split(b"\r\n")[1:])
    headers = {name.decode().lower(): value.strip().decode() for name, _, value in lines}
    least_s = least_pause_s(answer.status, headers)
    later = " later" if "retry-after" in headers else ""
    return f"{answer.status}{later}", least_s


@dataclass
class Underway:
    """An order that is being carried out."""

    calls: list[Call] = field(default_factory=list)
    """There once it is over."""


@contextmanager
def steady(order: Order) -> Iterator[Underway]:
    """Have an order carried out by a process of its own meanwhile.

    Raises:
        subprocess.CalledProcessError: That process failed.
    """
    command = [sys.executable, "-m", "benchmarks.support.steady"]
    underway = Underway()
    with subprocess.Popen(  # noqa: S603
        command,
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
        try:
            process.stdin.write(json.dumps(asdict(order)) + "\n")
            process.stdin.flush()
            process.stdout.readline()
            yield underway
        except BaseException:
            process.kill()
            raise
        process.stdin.close()
        lines = [json.loads(line) for line in process.stdout]
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    underway.calls = [Call(**{**each, "outcomes": tuple(each["outcomes"])}) for each in lines]


async def _until_input_ends(order: Order) -> list[Call]:
    load, stop = Steady(order), asyncio.Event()
    print("underway", flush=True)
    loop = asyncio.get_running_loop()
    ends = loop.run_in_executor(None, sys.stdin.read)
    ends.add_done_callback(lambda _: stop.set())
    await load.run(stop)
    return load.calls


def main() -> None:
    """Carry out what is read."""
    order = Order(**json.loads(sys.stdin.readline()))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        calls = runner.run(_until_input_ends(order))
    # A line each: where Python does not buffer, it may not write more than a pipe holds at once.
    for call in calls:
        print(json.dumps(asdict(call)))


if __name__ == "__main__":
    main()
