"""Kill the replicas of two services on one machine: does one ever answer for the other?

    python -m benchmarks.faults.neighbours --rounds 20

One service requires a token. An endless loop per core keeps the machine busy. In each round the
controller of one service is paused until the other service is back, because on a busy machine it
may replace its replicas late. Exits with status 1 if a response came from the other service. Linux
only.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import httpx
import tyro

from benchmarks.preemption.kills import kill
from benchmarks.support.processes import usage
from benchmarks.support.running import OURS, Running, running

_REPLICA: Final = ":PolicyServer"
_CONTROLLER: Final = ":ServeController"
_STARTED: Final = "listening on"
_BUSY: Final = "while :; do :; done"
_BACK_S: Final = 600.0
_CALL_S: Final = 2.0
"""For a query, so that a caller does not miss a round because it waits."""
_POLL_S: Final = 0.1
_UNAUTHORIZED: Final = 401


@dataclass(frozen=True)
class Options:
    """How often, and how busy the machine is."""

    rounds: int = 20
    """How often all replicas of both services are killed."""
    callers: int = 4
    """Threads that query each service all the time."""
    late_s: float = 8.0
    """How long one service has no replica after the other one is back."""
    loops: int | None = None
    """Endless loops beside it; else as many as there are cores."""


@dataclass
class Caller:
    """Queries one service and notes who answers."""

    service: Running
    token: str | None
    outcomes: Counter[str] = field(default_factory=Counter)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Query until told to stop."""
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        with httpx.Client(base_url=self.service.url, headers=headers, timeout=_CALL_S) as client:
            while not self.stop.is_set():
                outcome = self._ask(client)
                self.outcomes[outcome] += 1
                if outcome != "own":
                    time.sleep(_POLL_S)

    def _ask(self, client: httpx.Client) -> str:
        """Who answered a query."""
        try:
            answer = client.get("/policies")
        except httpx.TransportError as error:
            return type(error).__name__
        if answer.is_success:
            return "own" if answer.json()["storage"] == str(self.service.store) else "other"
        # Every query has the token of the service that it is sent to.
        return "other" if answer.status_code == _UNAUTHORIZED else f"{answer.status_code}"


def measure(options: Options) -> Counter[str]:
    """What became of all queries."""
    token = secrets.token_urlsafe(24)
    with ExitStack() as ending:
        ending.enter_context(_busy(os.cpu_count() or 1 if options.loops is None else options.loops))
        open_one = ending.enter_context(running(OURS))
        closed = ending.enter_context(running(OURS, {"CARRACING_API_TOKEN": token}))
        # The first replica answers before the service has started: it would end if that one died.
        _wait(lambda: all(_STARTED in service.log.read_text() for service in (open_one, closed)))
        callers = [
            Caller(service, shown)
            for service, shown in ((open_one, None), (closed, token))
            for _ in range(options.callers)
        ]
        threads = [threading.Thread(target=caller.run) for caller in callers]
        for thread in threads:
            thread.start()
        try:
            for number in range(1, options.rounds + 1):
                # In the first round the one that started last: the other one's next ports are its.
                late, other = (closed, open_one) if number % 2 else (open_one, closed)
                _kill_replicas(late, other, options.late_s)
                print(f"round {number}: {_sum(callers)}", flush=True)
        finally:
            for caller in callers:
                caller.stop.set()
            for thread in threads:
                thread.join()
        return sum((caller.outcomes for caller in callers), Counter())


def _sum(callers: list[Caller]) -> str:
    counted = sum((Counter(caller.outcomes) for caller in callers), Counter[str]())
    return ", ".join(f"{times} × {how}" for how, times in counted.most_common())


def _kill_replicas(late: Running, other: Running, late_s: float) -> None:
    """Kill all replicas of both services at once, and wait until each has as many new ones.

    Args:
        late: The service that has none until the other one is back.
        other: The other one.
        late_s: How long it has none after that.
    """
    before = {service: _processes(service, _REPLICA) for service in (late, other)}
    controller = _processes(late, _CONTROLLER)
    for pid in controller:
        os.kill(pid, signal.SIGSTOP)
    try:
        kill([pid for pids in before.values() for pid in pids])
        _wait(lambda: _is_back(other, before[other]))
        time.sleep(late_s)
    finally:
        for pid in controller:
            os.kill(pid, signal.SIGCONT)
    _wait(lambda: _is_back(late, before[late]))


def _is_back(service: Running, killed: set[int]) -> bool:
    if len(_processes(service, _REPLICA) - killed) < len(killed):
        return False
    with suppress(httpx.TransportError):
        return httpx.get(f"{service.url}/health/ready", timeout=60).is_success
    return False


def _wait(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _BACK_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"a service did not start or come back within {_BACK_S:g} s")
        time.sleep(_POLL_S)


def _processes(service: Running, name: str) -> set[int]:
    return {pid for pid, process in usage(service.pid).items() if name in process.name}


@contextmanager
def _busy(loops: int) -> Iterator[None]:
    """Keep so many cores busy."""
    started = [subprocess.Popen(["/bin/sh", "-c", _BUSY]) for _ in range(loops)]  # noqa: S603
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def main() -> int:
    """The command line; the exit status."""
    outcomes = measure(
        tyro.cli(Options, prog="python -m benchmarks.faults.neighbours", description=__doc__)
    )
    strangers = outcomes["other"]
    print(f"{outcomes.total():,} queries, {strangers} answered by the other service")
    if outcomes["own"] == 0:
        print("error: no query was answered at all", file=sys.stderr)
    return int(strangers > 0 or outcomes["own"] == 0)


if __name__ == "__main__":
    sys.exit(main())
