"""Measure decisions per second over ``WS /drive?mode=frames``.

    python -m benchmarks.service.drives
    python -m benchmarks.service.drives --rounds 1 --seconds 1     a quick look

Each connection sends a picture, waits for its action and sends the next one. The clients run in a
process of their own on the same cores.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import time
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

import numpy as np
import tyro
import uvloop
from websockets.asyncio.client import connect

from benchmarks.support.load import quantile
from benchmarks.support.network import forward_ms
from benchmarks.support.processes import processor_seconds, usage
from benchmarks.support.running import OURS, Running, running

Kind = Literal["prepared", "raw"]
_SHAPES: Final[dict[Kind, tuple[int, ...]]] = {"prepared": (84, 84), "raw": (96, 96, 3)}
_TITLES: Final[dict[Kind, str]] = {
    "prepared": "84×84 grey, 7,056 bytes",
    "raw": "96×96 RGB, 27,648 bytes",
}
_ACTION_BYTES: Final = 12


@dataclass(frozen=True)
class Options:
    """What is measured."""

    connections: tuple[int, ...] = (1, 8)
    """Numbers of connections."""
    rounds: int = 3
    """Rounds; the table shows medians."""
    seconds: float = 5.0
    """How long each of them lasts."""
    cores: int = 2
    """Cores for the service and its clients together."""

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        counts = (self.rounds, self.cores, len(self.connections), *self.connections)
        if min(counts) < 1 or self.seconds <= 0:
            raise ValueError(
                "--rounds, --seconds, --cores and every number of --connections must be above 0"
            )


@dataclass(frozen=True)
class Trips:
    """Round trips of all connections together."""

    rate: float
    p50_ms: float
    p99_ms: float
    own_ms: float
    """Processor time of the clients for a trip."""


async def drive(url: str, picture: bytes, end: float) -> list[float]:
    """Ask for actions until the end; the seconds that each took."""
    taken = []
    async with connect(f"{url}/drive?mode=frames", max_size=None) as socket:
        if json.loads(await socket.recv())["type"] != "start":
            raise ValueError("the service did not begin with a start")
        while (begin := time.perf_counter()) < end:
            await socket.send(picture)
            if len(await socket.recv()) != _ACTION_BYTES:
                raise ValueError("an answer is no action")
            taken.append(time.perf_counter() - begin)
    return taken


async def drive_all(url: str, kind: Kind, connections: int, seconds: float) -> Trips:
    """Drive over that many connections at once."""
    picture = np.random.default_rng(0).integers(0, 256, _SHAPES[kind], np.uint8).tobytes()
    own, end = time.process_time(), time.perf_counter() + seconds
    many = await asyncio.gather(*(drive(url, picture, end) for _ in range(connections)))
    taken = sorted(each for one in many for each in one)
    return Trips(
        rate=len(taken) / seconds,
        p50_ms=1000 * quantile(taken, 0.5),
        p99_ms=1000 * quantile(taken, 0.99),
        own_ms=1000 * (time.process_time() - own) / max(1, len(taken)),
    )


def measure(url: str, kind: Kind, connections: int, seconds: float) -> Trips:
    """The same, from a process that has only this to do."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(drive_all(url, kind, connections, seconds))


def measure_all(
    options: Options, server: Running
) -> dict[tuple[Kind, int], list[tuple[Trips, float]]]:
    """Every round's trips, and the server's milliseconds of processor time for each."""
    url = server.url.replace("http", "ws", 1)
    rounds: dict[tuple[Kind, int], list[tuple[Trips, float]]] = {}
    with multiprocessing.get_context("spawn").Pool(1) as clients:
        clients.apply(measure, (url, "raw", max(options.connections), 1.0))
        for _ in range(options.rounds):
            for connections in options.connections:
                for kind in _SHAPES:
                    before = usage(server.pid)
                    trips = clients.apply(measure, (url, kind, connections, options.seconds))
                    spent = processor_seconds(before, usage(server.pid))
                    count = max(1.0, trips.rate * options.seconds)
                    rounds.setdefault((kind, connections), []).append((trips, 1000 * spent / count))
    return rounds


def main() -> None:
    """Measure, and print the table."""
    options = tyro.cli(Options, description=__doc__)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    network_ms = forward_ms(1, min(2.0, options.seconds))
    with running(OURS, {"CARRACING_DRIVES_MAX": str(2 * max(options.connections))}) as server:
        rounds = measure_all(options, server)
    own = median(trips.own_ms for many in rounds.values() for trips, _ in many)
    print(f"\nmedian of {options.rounds} rounds of {options.seconds:g} s, {options.cores} cores")
    print(f"(the clients take {own:.3f} ms of processor time for a trip, on the same cores;")
    print(f"the bare network takes {network_ms:.3f} ms for a decision)\n")
    print("| picture | connections | round trips/s (lowest–highest) | for each connection ", end="")
    print("| p50, ms | p99, ms | processor, ms |")
    print("|---" * 7 + "|")
    for (kind, connections), many in rounds.items():
        rates = [trips.rate for trips, _ in many]
        print(
            f"| {_TITLES[kind]} | {connections} "
            f"| {median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f}) "
            f"| {median(rates) / connections:,.0f} "
            f"| {median(trips.p50_ms for trips, _ in many):.1f} "
            f"| {median(trips.p99_ms for trips, _ in many):.1f} "
            f"| {median(spent for _, spent in many):.2f} |"
        )


if __name__ == "__main__":
    main()
