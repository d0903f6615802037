"""Kill processes of the service, or redeploy it, under load: what do callers see?

    python -m benchmarks.faults
    python -m benchmarks.faults --proxy serve
    python -m benchmarks.faults --settle-s 3 --faults replica renderer     a quick look

The service runs with its defaults, two replicas on two or more cores. Clients send ``POST /act`` at
a fixed rate over some thirty connections, whether or not earlier requests are answered, and retry
as ``app.client`` does. A caller's wait is counted from when its request was due, retries included.
Then processes are killed with SIGKILL, one kind after the other, the application is redeployed, and
the service is stopped.

Exits with status 1 if a request fails for good, if one fails at first during the redeployment, or
if the stopping service does not answer what was sent before.
"""

from __future__ import annotations

import base64
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal, get_args

import numpy as np
import tyro

from app.local.environment import SWITCH
from app.policies.bundled import read_bundled
from benchmarks.faults.aftermath import HEAD, End, Report, judge_end, sum_up
from benchmarks.support import cluster
from benchmarks.support.cluster import Cluster, ClusterError, attached
from benchmarks.support.load import post
from benchmarks.support.processes import usage
from benchmarks.support.running import NPY, OURS, Running, running, to_npy
from benchmarks.support.steady import Order, steady

Name = Literal[
    "replica", "renderer", "proxy", "manager", "fallback", "controller", "redeploy", "shutdown"
]
_RECOVERY_S: Final = 120.0
_FILM_RATE: Final = 1.0


@dataclass(frozen=True)
class Options:
    """What is done to which service."""

    proxy: Literal["haproxy", "serve"] = "haproxy"
    """What stands before the replicas: HAProxy, or Serve's own proxy, as on macOS."""
    rate: float = 50.0
    """Requests a second."""
    settle_s: float = 15.0
    """Seconds of load before a fault, and after all is well again."""
    faults: tuple[Name, ...] = ()
    """Which; none is every one that there is with this proxy."""

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        if min(self.rate, self.settle_s) <= 0:
            raise ValueError("--rate and --settle-s must be above 0")


@dataclass(frozen=True)
class Kill:
    """Processes that are killed."""

    title: str
    kind: str
    """What their names hold."""
    all: bool = True
    """Whether every one of them, or one."""


KILLS: Final[dict[Name, Kill]] = {
    "replica": Kill("one of the policy replicas", cluster.REPLICA, all=False),
    "renderer": Kill("the film replica", cluster.RENDERER),
    "proxy": Kill("HAProxy", cluster.HAPROXY),
    "manager": Kill("the actor that runs HAProxy", cluster.HAPROXY_MANAGER),
    "fallback": Kill("Serve's proxy behind HAProxy", cluster.SERVE_PROXY),
    "controller": Kill("Serve's controller", cluster.CONTROLLER),
}
OWN_PROXY: Final = Kill("Serve's proxy", cluster.SERVE_PROXY)


def kill_of(name: Name, options: Options) -> Kill:
    """What is killed under this name; raises KeyError where nothing is."""
    if name == "proxy" and options.proxy == "serve":
        return OWN_PROXY
    return KILLS[name]


def queries(port: int, rate: float) -> Order:
    """Ask what to do."""
    request = post("/act", to_npy(np.zeros((84, 84, 4), np.uint8)), NPY)
    return Order(port, base64.b64encode(request).decode(), rate)


def films(port: int) -> Order:
    """Order small films, no two the same."""
    path = f"/gif/{read_bundled().manifest.version}/{{number}}.gif?max_steps=40&width=60"
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    return Order(port, base64.b64encode(request.encode()).decode(), _FILM_RATE)


def kill(service: Cluster, what: Kill) -> None:
    """Kill, and wait until others are in place."""
    there = service.processes(what.kind)
    victims = there if what.all else {min(there)}
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    # HAProxy's earlier processes stay for as long as someone is connected to them.
    number = 1 if what.kind == cluster.HAPROXY else len(there)
    service.wait_for(what.kind, number, victims, _RECOVERY_S)


def _redeploy(service: Cluster) -> None:
    """Deploy once more, and wait until every replica is another."""
    there = service.processes(cluster.REPLICA)
    service.redeploy(len(there))
    service.wait_for(cluster.REPLICA, len(there), there, _RECOVERY_S)


def suffer(options: Options, happen: Callable[[], None], orders: Sequence[Order]) -> list[Report]:
    """Carry orders out, let something happen meanwhile, and go on for a while.

    Args:
        options: How long.
        happen: Comes back when all is well again.
        orders: What is asked for.
    """
    with ExitStack() as stack:
        loads = [stack.enter_context(steady(order)) for order in orders]
        time.sleep(options.settle_s)
        begin = time.monotonic()
        happen()
        whole = time.monotonic()
        time.sleep(options.settle_s)
    return [sum_up(load.calls, begin, whole) for load in loads]


def end(server: Running, options: Options) -> End:
    """Tell the service to end while it is asked, and ask until it has ended."""
    order = replace(queries(server.port, options.rate), attempts=1)
    with steady(order) as load:
        time.sleep(options.settle_s)
        told = time.monotonic()
        os.kill(server.pid, signal.SIGTERM)
        # It stays as a zombie, without a name.
        while usage(server.pid)[server.pid].name:
            time.sleep(0.1)
    return judge_end(load.calls, told)


def chosen(options: Options) -> list[Name]:
    """The faults that are asked for, and that there are with this proxy."""
    absent = {"manager", "fallback"} if options.proxy == "serve" else set()
    return [name for name in options.faults or get_args(Name) if name not in absent]


def _faults(service: Cluster, options: Options) -> bool:
    """Print a row for each fault; whether all promises were kept."""
    kept = True
    acting = queries(service.server.port, options.rate)
    for name in chosen(options):
        if name == "redeploy":
            title, happen = "rolling redeployment", partial(_redeploy, service)
        elif name in KILLS:
            what = kill_of(name, options)
            title, happen = what.title, partial(kill, service, what)
        else:
            continue
        orders = [acting, films(service.server.port)] if name == "renderer" else [acting]
        for report, of in zip(suffer(options, happen, orders), ("", ": films"), strict=False):
            print(report.row(title + of), flush=True)
            kept = kept and not report.failed and not (name == "redeploy" and report.failed_raw)
    return kept


def main() -> int:
    """Run the command line; the exit status."""
    options = tyro.cli(Options, description=__doc__)
    with running(OURS, {SWITCH: "0"} if options.proxy == "serve" else None) as server:
        print(HEAD, flush=True)
        with attached(server) as service:
            try:
                kept = _faults(service, options)
            except ClusterError as error:
                print(f"\nnot whole again: {error}")
                return 1
        if "shutdown" in chosen(options):
            found = end(server, options)
            print(f"\n{found.sentence()}")
            kept = kept and not found.failed
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
