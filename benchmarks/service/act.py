"""Compare ``POST /act`` with other servers: requests per second and CPU time per request.

    python -m benchmarks.service.act
    python -m benchmarks.service.act --rounds 1 --seconds 1 --contenders ours fastapi   a quick look

Clients send one observation as npy and ask again as soon as they have a response. Every contender
serves the bundled policy with one thread per decision: this service decides two observations at a
time in each of two replicas, or in one; FastAPI up to 40, its default thread pool; LitServe one in
each worker; BentoML two. In each round each contender is started, warmed up, measured and stopped,
and each round begins with another one. The clients run in a process of their own on the same cores.
LitServe and BentoML are installed into `.venv-serving-peers`.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from statistics import median
from typing import Final

import numpy as np
import tyro

from app.local.environment import SWITCH
from app.policies.bundled import read_bundled
from benchmarks.support.environments import PeersError
from benchmarks.support.load import Order, Result, measure
from benchmarks.support.network import forward_ms
from benchmarks.support.processes import processor_seconds, usage
from benchmarks.support.running import (
    NPY,
    ONE_REPLICA,
    OURS,
    Running,
    Server,
    ServerError,
    running,
    to_npy,
)

_LITSERVE: Final = "benchmarks.peers.with_litserve"
SERVERS: Final = {
    "ours": OURS,
    "ours-1": ONE_REPLICA,
    "serve-proxy": Server(
        "this service behind Serve's own proxy",
        OURS.module,
        OURS.arguments,
        environment={SWITCH: "0"},
    ),
    "fastapi": Server("FastAPI + uvicorn", "benchmarks.peers.with_fastapi"),
    "litserve": Server("LitServe", _LITSERVE, ("1",), peer=True),
    "litserve-2": Server("LitServe, two workers", _LITSERVE, ("2",), peer=True),
    "bentoml": Server("BentoML", "benchmarks.peers.with_bentoml", peer=True),
}
_WARM_UP_S: Final = 1.0


@dataclass(frozen=True)
class Options:
    """What is measured."""

    contenders: tuple[str, ...] = tuple(SERVERS)
    """Who takes part; ratios are to the first."""
    clients: tuple[int, ...] = (1, 8, 32)
    """Numbers of clients."""
    rounds: int = 3
    """Rounds; the table shows medians."""
    seconds: float = 4.0
    """How long each number of clients asks."""
    cores: int = 2
    """Cores for server and clients together."""

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        if not self.contenders or not set(self.contenders) <= set(SERVERS):
            given = " ".join(self.contenders) or "nobody"
            raise ValueError(f"--contenders is {given}; choose of {', '.join(SERVERS)}")
        if min(self.rounds, self.cores, *self.clients, len(self.clients)) < 1 or self.seconds <= 0:
            raise ValueError(
                "--rounds, --seconds, --cores and every number of --clients must be above 0"
            )


@dataclass(frozen=True)
class Measured:
    """A server, asked by a number of clients."""

    result: Result
    server_ms: float
    """Processor time of the server's processes for an answer."""


@dataclass
class Measurements:
    """Everything that was measured."""

    rounds: dict[tuple[str, int], list[Measured]] = field(default_factory=dict)
    """By contender and number of clients."""
    failures: dict[str, str] = field(default_factory=dict)
    """Who could not be measured, and why."""
    network_ms: list[float] = field(default_factory=list)
    """Of each round: the bare network's processor time for one observation."""


def observation_body() -> bytes:
    """One observation as npy."""
    shape = read_bundled().manifest.pipeline.observation_shape
    return to_npy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


def ask(server: Running, body: bytes, clients: int, seconds: float) -> Measured:
    """Have it asked; raises ServerError where nothing is answered in time."""
    before = usage(server.pid)
    result = measure(
        Order(server.port, "/act", NPY, base64.b64encode(body).decode(), clients, seconds)
    )
    spent = processor_seconds(before, usage(server.pid))
    if not result.answered:
        raise ServerError(f"of {clients} clients none was answered within {seconds:g} s")
    return Measured(result, 1000 * spent / result.answered)


def turned(contenders: tuple[str, ...], number: int) -> tuple[str, ...]:
    """The contenders in the order of a round, counted from 0."""
    first = number % len(contenders)
    return contenders[first:] + contenders[:first]


def measure_all(options: Options) -> Measurements:
    """Every contender's rounds, alternating, and the bare network's."""
    body = observation_body()
    measured = Measurements()
    for number in range(options.rounds):
        measured.network_ms.append(forward_ms(1, min(2.0, options.seconds)))
        for name in turned(options.contenders, number):
            if name in measured.failures:
                continue
            print(f"round {number + 1}: {SERVERS[name].title}", flush=True)
            try:
                with running(SERVERS[name]) as server:
                    ask(server, body, max(options.clients), _WARM_UP_S)
                    for clients in options.clients:
                        asked = ask(server, body, clients, options.seconds)
                        measured.rounds.setdefault((name, clients), []).append(asked)
            except (ServerError, PeersError) as error:
                measured.failures[name] = str(error)
    return measured


def table(options: Options, measured: Measurements) -> str:
    """The medians as Markdown, and below it why something failed."""
    first = options.contenders[0]
    lines = [
        f"| server | clients | requests/s (lowest–highest) | p50, ms | p99, ms | processor, ms | "
        f"of one core's bare network | {SERVERS[first].title} is | failed |",
        "|---" * 9 + "|",
    ]
    faults = [f"{SERVERS[name].title}: {why}" for name, why in measured.failures.items()]
    for clients in options.clients:
        for name in options.contenders:
            title = SERVERS[name].title
            if name in measured.failures:
                lines.append(f"| {title} | {clients} | not measured |" + " |" * 6)
                continue
            own = measured.rounds[name, clients]
            rates = [each.result.rate for each in own]
            rate = median(rates)
            share = rate * median(measured.network_ms) / 1000
            reference = measured.rounds.get((first, clients), [])
            ratio = median(each.result.rate for each in reference) / rate if reference else 0
            lines.append(
                f"| {title} | {clients} | {rate:,.0f} ({min(rates):,.0f}–{max(rates):,.0f}) "
                f"| {median(each.result.p50_ms for each in own):.1f} "
                f"| {median(each.result.p99_ms for each in own):.1f} "
                f"| {median(each.server_ms for each in own):.2f} | {share:.0%} "
                f"| {f'{ratio:.2f} × as fast' if ratio else ''} "
                f"| {sum(each.result.failed for each in own)} |"
            )
            faults += [f"{title}: {each.result.fault}" for each in own if each.result.fault]
    return "\n".join([*lines, "", *dict.fromkeys(faults)])


def main() -> None:
    """Measure, and print the table."""
    options = tyro.cli(Options, description=__doc__)
    # Inherited by everything that is started from here.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    load = os.getloadavg()[0]
    measured = measure_all(options)
    own = [each.result.own_ms for many in measured.rounds.values() for each in many]
    print(f"\nmedian of {options.rounds} rounds of {options.seconds:g} s, {options.cores} cores")
    print(f"(load of the machine: {load:.1f} before, {os.getloadavg()[0]:.1f} after;")
    if own:
        print(f"the clients take {median(own):.3f} ms of processor time for a request;")
    print(f"the bare network takes {median(measured.network_ms):.3f} ms for an observation)\n")
    print(table(options, measured))


if __name__ == "__main__":
    main()
