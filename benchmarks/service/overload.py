"""Send ten times more than the service can take: what is refused, what waits?

    python -m benchmarks.service.overload
    python -m benchmarks.service.overload --clients 240 --seconds 3     a quick look

Clients that never wait ask for actions and for films and curves that all differ, while a probe
checks health: a tenth of what one replica takes at once, all of it, and ten times as much. Then
queries alone, and queries while films are rendered. The clients run in this process, on the same
cores.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import count
from typing import Final, Literal

import numpy as np
import tyro
import uvloop

from app.limits import max_other_requests
from app.policies.bundled import read_bundled
from app.settings import MIB, Settings
from benchmarks.support.load import Answer, client, post, quantile
from benchmarks.support.processes import usage
from benchmarks.support.running import NPY, ONE_REPLICA, Running, running, to_npy

Kind = Literal["act", "film", "curve", "health"]


def _default(setting: str) -> int:
    """What the service is started with."""
    return int(Settings.model_fields[setting].default)


def _places(kind: Kind, number: int) -> tuple[Kind, ...]:
    return (kind,) * number


_QUERIES: Final = _default("act_pending")
_OTHERS: Final = max_other_requests(_QUERIES)
_RENDERED: Final = _default("film_pending")
_FILMS: Final = 1 + _default("film_max_waiting")
_PLACES: Final[tuple[Kind, ...]] = (
    *_places("act", _QUERIES),
    *_places("film", _FILMS),
    *_places("curve", _RENDERED - _FILMS),
)
"""Every place for a request of these kinds. Of those for others, drives and lists have the rest."""
_ACTING: Final = 8
_FILMING: Final = 8


@dataclass(frozen=True)
class Options:
    """How hard, and how long."""

    clients: tuple[int, ...] = (len(_PLACES) // 10, len(_PLACES), 10 * len(_PLACES))
    """Clients of each round."""
    seconds: float = 20.0
    """Length of a round."""

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        if self.seconds <= 0 or min(self.clients, default=0) < 1:
            raise ValueError("--seconds and every number of --clients must be above 0")


@dataclass
class Round:
    """What was answered in a round."""

    answered: dict[Kind, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds of each answer of status 200."""
    refused: Counter[Kind] = field(default_factory=Counter)
    """Answers of status 503 or 429 that say when to come back."""
    failed: Counter[tuple[Kind, int]] = field(default_factory=Counter)
    """All others, by status; 0 is a connection that broke."""
    peak: int = 0
    """MiB that the service's processes held at most, what they share counted for each."""
    own_s: float = 0.0
    """Processor time that the clients themselves took."""

    def note(self, kind: Kind, answer: Answer) -> None:
        """One more answer."""
        if answer.status == 200:
            self.answered[kind].append(answer.done - answer.sent)
        elif answer.status in (429, 503) and b"\r\nretry-after: " in answer.head.lower():
            self.refused[kind] += 1
        else:
            self.failed[kind, answer.status] += 1

    @property
    def own_ms(self) -> float:
        """Processor time of the clients for a request."""
        answers = sum(map(len, self.answered.values()))
        return 1000 * self.own_s / max(1, answers + self.refused.total() + self.failed.total())

    def seconds(self, kind: Kind) -> str:
        """p50 and p99 of a kind's answers."""
        ascending = sorted(self.answered[kind])
        return " / ".join(f"{quantile(ascending, share):.2f}" for share in (0.5, 0.99))


@cache
def _act() -> bytes:
    return post("/act", to_npy(np.zeros((84, 84, 4), np.uint8)), NPY)


@cache
def _bundled() -> str:
    return read_bundled().manifest.version


def _request(kind: Kind, number: int) -> bytes:
    """A request as it goes over the wire; of another number it is for something else."""
    match kind:
        case "act":
            return _act()
        case "film":
            path = f"/gif/{_bundled()}/{number}.gif?max_steps=200&width=150"
        case "curve":
            path = f"/curve.png?finetune_at={number}"
        case "health":
            path = ("/health/live", "/health/ready")[number % 2]
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def _requests(kind: Kind, numbers: Iterator[int], end: float) -> Iterator[bytes]:
    while time.perf_counter() < end:
        yield _request(kind, next(numbers))


def kinds(clients: int) -> list[Kind]:
    """What each of so many clients asks for: of each kind as many as its share of the places."""
    return [_PLACES[(2 * n + 1) * len(_PLACES) // (2 * clients)] for n in range(clients)]


def _by_kind(numbers: Mapping[Kind, int]) -> str:
    """All but the probes."""
    each = (f"{n:,} × {kind}" for kind, n in sorted(numbers.items()) if n and kind != "health")
    return ", ".join(each) or "0"


def _memory(server: Running) -> int:
    return sum(each.resident for each in usage(server.pid).values()) // MIB


async def ask(server: Running, asked: list[Kind], seconds: float, numbers: Iterator[int]) -> Round:
    """Let a client for each of these ask again as soon as it is answered, and a probe beside."""
    found = Round()
    own, end = time.thread_time(), time.perf_counter() + seconds

    async def look_at_memory() -> None:
        while time.perf_counter() < end:
            found.peak = max(found.peak, await asyncio.to_thread(_memory, server))
            await asyncio.sleep(1)

    async with asyncio.TaskGroup() as group:
        group.create_task(look_at_memory())
        for kind in (*asked, "health"):
            pause_s = 0.1 if kind == "health" else 0.0
            requests = _requests(kind, numbers, end)
            group.create_task(client(server.port, requests, partial(found.note, kind), pause_s))
    found.own_s = time.thread_time() - own
    return found


async def flood(server: Running, options: Options) -> None:
    """Print a row for each number of clients."""
    numbers = count(1)
    print(
        f"{_QUERIES} queries and {_OTHERS} other requests are let in at once; of the others "
        f"{_RENDERED} wait for films and curves, {_FILMS} of them for different films\n"
        "seconds are p50 / p99 of answers of status 200; own is the clients' processor time for a "
        "request\n"
    )
    print("| clients | 200 | 503 or 429 with Retry-After | other | act, s | film, s ", end="")
    print("| health 200 | health, s | own, ms | MiB before, at most |")
    print("|---" * 10 + "|")
    for clients in options.clients:
        before = _memory(server)
        found = await ask(server, kinds(clients), options.seconds, numbers)
        healthy = len(found.answered["health"])
        unhealthy = found.refused["health"] + sum(
            times for (kind, _), times in found.failed.items() if kind == "health"
        )
        cells = (
            _by_kind({kind: len(taken) for kind, taken in found.answered.items()}),
            _by_kind(found.refused),
            ", ".join(
                f"{times} × {kind} {status}" for (kind, status), times in found.failed.items()
            )
            or "0",
            found.seconds("act"),
            found.seconds("film"),
            f"{healthy} of {healthy + unhealthy}",
            found.seconds("health"),
            f"{found.own_ms:.3f}",
            f"{before:,}, {found.peak:,}",
        )
        print(f"| {clients:,} | " + " | ".join(cells) + " |", flush=True)


async def starve(server: Running, options: Options) -> None:
    """Print what acting takes alone, and beside films."""
    numbers = count(1_000_000)
    acting: list[Kind] = ["act"] * _ACTING
    filming: list[Kind] = ["film"] * _FILMING
    print(f"\n| {_ACTING} clients act | requests/s | p50 / p99, s | own, ms | films |")
    print("|---" * 5 + "|")
    for title, asked in (("alone", acting), (f"{_FILMING} order films", acting + filming)):
        found = await ask(server, asked, options.seconds, numbers)
        rate = len(found.answered["act"]) / options.seconds
        films = len(found.answered["film"])
        cells = f"{rate:.0f} | {found.seconds('act')} | {found.own_ms:.3f} | {films}"
        print(f"| {title} | {cells} |", flush=True)


def main() -> None:
    """Run the command line."""
    options = tyro.cli(Options, description=__doc__)
    # The service's processes inherit it.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with (
        running(ONE_REPLICA) as server,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(flood(server, options))
        runner.run(starve(server, options))


if __name__ == "__main__":
    main()
