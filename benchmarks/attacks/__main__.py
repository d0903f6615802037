"""Attack the service: is every response documented, and is memory bounded?

    python -m benchmarks.attacks
    python -m benchmarks.attacks --requests 500     a quick look

Starts the service with the bundled policy and sends requests from many clients at once, in an order
that the seed decides: what schemathesis generates from the OpenAPI document, hand-made hostile
requests, broken connections and drives, and ordinary requests whose responses are checked. Before
that, more drives than the service has room for. Prints the responses and the memory. Exits with
status 1 if a response was not documented, an ordinary one was wrong, a health probe failed, many
requests were refused without overload, or memory grew beyond the limits.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar

import httpx
import torch
import tyro

from app.policies.loading import load_bundled
from app.settings import MIB
from benchmarks.attacks.documented import Documented
from benchmarks.attacks.generated import generated
from benchmarks.attacks.hostile_addresses import hostile_addresses
from benchmarks.attacks.hostile_bodies import hostile_bodies
from benchmarks.attacks.hostile_connections import BODY_TIMEOUT_S, HOSTILE_CONNECTIONS
from benchmarks.attacks.hostile_drives import HOSTILE_DRIVES, crowd
from benchmarks.attacks.malice import Harm
from benchmarks.attacks.memory import Look, left_behind
from benchmarks.attacks.ordinary import Ordinary
from benchmarks.attacks.sender import Sender
from benchmarks.attacks.tally import Tally
from benchmarks.attacks.wire import WAIT_S
from benchmarks.support.processes import usage
from benchmarks.support.running import OURS, SMALL_CACHE, Running, running

T = TypeVar("T")

_SETTINGS: Final = SMALL_CACHE | {
    "CARRACING_BODY_TIMEOUT_S": f"{BODY_TIMEOUT_S}",
    "CARRACING_MAX_BODY_BYTES": f"{MIB}",
    "CARRACING_DRIVE_IDLE_S": "20",
}
_ORDINARY, _GENERATED, _CONNECTIONS, _DRIVES = "ordinary", "schemathesis", "connections", "drives"
_CROWDS, _BESIDE = "crowds of drives", "ordinary, beside crowds"
_SHARES: Final = {
    _CROWDS: 0.003,
    _BESIDE: 0.02,
    _ORDINARY: 0.4,
    _GENERATED: 0.2,
    _CONNECTIONS: 0.03,
    _DRIVES: 0.03,
}
"""Of all requests; the rest are those made by hand."""
_PROBE_S: Final = 0.5
_SETTLE_S: Final = 15.0
_LEFT_MIB: Final = 20.0
"""What 1,000 requests of the second half may leave behind, in MiB: a leak of 20 KiB each."""
_JUDGED: Final = 6_000
"""From so many requests on that is judged: libraries and pools of memory grow in the beginning."""


@dataclass(frozen=True)
class Options:
    """How much, and what is too much."""

    requests: int = 12_000
    """How many in all, probes not counted."""
    clients: int = 16
    """Who ask at once."""
    seed: int = 0
    """Of what is chosen, and of its order."""
    grown_mib: int = 1000
    """What the service's processes together may have grown by, once it is over: each of two
    replicas has had its sixteen drives, 64 bodies and films, and keeps what they took."""
    peak_mib: int = 2000
    """What they may have grown by meanwhile."""


class Attack:
    """Everything that is sent, and what came back."""

    def __init__(self, options: Options, server: Running, http: httpx.AsyncClient) -> None:
        self.tally = Tally()
        self.looks: list[Look] = []
        """In order; the first and the last are of peace."""
        self.slowest_probe_s = 0.0
        self._options = options
        self._server = server
        self._http = http
        self._over = 0
        self._chance = random.Random(options.seed)  # noqa: S311

    async def run(self) -> None:
        """Attack, then let the service come to rest."""
        document = (await self._http.get("/openapi.json")).json()
        version = (await self._http.get("/policy")).json()["version"]
        ordinary = Ordinary(load_bundled(), self._http, self._server.port)
        sender = Sender(
            self._http,
            self._server.port,
            Documented(document),
            ordinary,
            self._chance,
            self.tally,
        )
        waves = await asyncio.to_thread(self._waves, sender, document, version)
        self._look()
        probing = asyncio.create_task(self._probe())
        for works in waves:
            waiting = iter(works)
            async with asyncio.TaskGroup() as group:
                for _ in range(self._options.clients):
                    group.create_task(self._carry_out(waiting))
        await asyncio.sleep(_SETTLE_S)
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)
        self._look()

    async def _carry_out(self, works: Iterator[Callable[[], Any]]) -> None:
        """Be one of the clients that share these works."""
        for work in works:
            await work()
            self._over += 1

    def _waves(
        self, sender: Sender, document: Mapping[str, Any], version: str
    ) -> list[list[Callable[[], Any]]]:
        """All that is to be sent, in a mixed order: what crowds, and then what does not."""
        number = {kind: int(share * self._options.requests) for kind, share in _SHARES.items()}
        operations = sum(map(len, document["paths"].values()))
        # Some operations have few requests to make.
        examples = max(1, 2 * number[_GENERATED] // operations)
        made = [*generated(document, self._server.url, examples, self._options.seed)]
        by_hand = [*hostile_bodies(MIB), *hostile_addresses(version)]
        crowds: list[Callable[[], Any]] = [
            *(partial(sender.harm, _CROWDS, crowd) for _ in range(number[_CROWDS])),
            *(partial(sender.ask, _BESIDE) for _ in range(number[_BESIDE])),
        ]
        works: list[Callable[[], Any]] = [
            *(partial(sender.ask, _ORDINARY) for _ in range(number[_ORDINARY])),
            *(
                partial(sender.send_generated, _GENERATED, each)
                for each in self._some(made, number[_GENERATED])
            ),
        ]
        for kind, harms in ((_CONNECTIONS, HOSTILE_CONNECTIONS), (_DRIVES, HOSTILE_DRIVES)):
            chosen = self._some(harms, number[kind])
            works += [partial(sender.harm, f"{kind}, {_name(harm)}", harm) for harm in chosen]
        rest = self._options.requests - len(crowds) - len(works)
        works += [partial(sender.send, malice) for malice in self._some(by_hand, rest)]
        for wave in (crowds, works):
            self._chance.shuffle(wave)
        return [crowds, works]

    def _some(self, among: Sequence[T], number: int) -> Iterator[T]:
        """That many of them: each as often as the others, but for the last round."""

        def rounds() -> Iterator[T]:
            while among:
                yield from self._chance.sample(among, len(among))

        return islice(rounds(), number)

    async def _probe(self) -> None:
        """Ask how the service is, and look at its memory, time and again."""
        while True:
            for path in ("/health/live", "/health/ready"):
                begin = time.monotonic()
                try:
                    status = (await self._http.get(path)).status_code
                    answer, fault = f"{status}", "" if status == 200 else f"{path}: {status}"
                except httpx.HTTPError as error:
                    answer, fault = "none", f"{path}: {error!r}"
                self.slowest_probe_s = max(self.slowest_probe_s, time.monotonic() - begin)
                self.tally.note("probes", answer, fault)
            await asyncio.to_thread(self._look)
            await asyncio.sleep(_PROBE_S)

    def _look(self) -> None:
        resident = sum(process.resident for process in usage(self._server.pid).values())
        self.looks.append(Look(self._over, resident))


def _name(harm: Harm) -> str:
    return getattr(harm, "__name__", "").replace("_", " ")


async def attacked(options: Options, server: Running) -> Attack:
    """Attack a service that is up."""
    # A connection that is used again may be one that the service is about to close.
    anew = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=server.url, timeout=WAIT_S, limits=anew) as http:
        attack = Attack(options, server, http)
        await attack.run()
        return attack


def sum_up(options: Options, attack: Attack) -> bool:
    """Print how it went; whether all went well."""
    print(attack.tally.table())
    sizes = [look.resident / MIB for look in attack.looks]
    before, highest, after = sizes[0], max(sizes), sizes[-1]
    left = left_behind(attack.looks, options.requests)
    crowded_out = attack.tally.crowded_out(meant=(_CROWDS, _BESIDE))
    print(f"\nslowest probe: {attack.slowest_probe_s:.2f} s")
    print("memory of all processes before, at most, and after: ", end="")
    print(f"{before:.0f}, {highest:.0f}, {after:.0f} MiB")
    print(f"in the second half it grew by {left:.1f} MiB with each 1,000 requests")
    print("\n".join(filter(None, (attack.tally.violations(), crowded_out))))
    bounded = after - before <= options.grown_mib and highest - before <= options.peak_mib
    bounded &= options.requests < _JUDGED or left <= _LEFT_MIB
    if not bounded:
        print("memory grew beyond the bounds")
    return bounded and not crowded_out and not attack.tally.faulty


def main() -> int:
    """Attack, and print what it came to; the exit status."""
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(1)
    with running(OURS, _SETTINGS) as server:
        attack = asyncio.run(attacked(options, server))
    return 0 if sum_up(options, attack) else 1


if __name__ == "__main__":
    sys.exit(main())
