"""Take storage away under load, and bring it back with a newer policy: what fails?

    python -m benchmarks.faults.storage_away
    python -m benchmarks.faults.storage_away --minutes 0.2     a quick look

The service reads a bucket of an S3 server on this machine through a TCP proxy, which first refuses
connections for a while, and then accepts and never answers them. Clients ask for actions, films of
the served policy and health, none of which may fail, and for the list of policies and a curve,
which need storage and may return 503, but soon. Exits with status 1 if something did not hold.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import httpx
import numpy as np
import torch
import tyro

from app.policies.bundled import read_bundled_progress
from benchmarks.support.door import Door
from benchmarks.support.load import Answer, client, post, quantile
from benchmarks.support.running import NPY, OURS, running, to_npy
from benchmarks.support.s3 import BUCKET, endpoint, s3_server
from benchmarks.support.variants import RUN, variant
from training.store.layout import progress_file
from training.store.policies import PolicyStore

_ROOT: Final = f"{BUCKET}/carracing-ppo"
_BACK_S: Final = 120.0
"""How long the newest policy is waited for."""
_PAUSE_S: Final = 0.5
"""Between two requests other than queries."""
_SOON_S: Final = 15.0
"""What needs storage answers within so long."""
_HEAD: Final = (
    "\n| connections | away, s | queries | films | failed | p99 before / while away "
    "| 503 of what needs storage, slowest | newest first / alone after |\n"
    "|---|---|---|---|---|---|---|---|"
)
NEEDS_STORAGE: Final = ("/policies", "/curve.json")
ALWAYS: Final = ("/health/ready", "/gif?max_steps=50&width=60&seed={}")


@dataclass(frozen=True)
class Options:
    """What goes on, and how long."""

    minutes: float = 10.0
    """How long storage is away, each time."""
    clients: int = 4
    """Clients that ask for actions."""
    pause_s: float = 0.05
    """From an answer to a client's next query."""

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        if self.minutes <= 0 or self.clients < 1 or self.pause_s < 0:
            raise ValueError("--minutes and --clients must be above 0, --pause-s not below")


@dataclass
class Record:
    """What was asked and answered around one absence."""

    acted: list[Answer] = field(default_factory=list)
    others: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """By path: status, or 0 where there was no answer, and seconds."""
    away_at: float = 0.0
    back_at: float = 0.0
    newest: str = ""
    """The version that was published while storage was away."""

    def queries(self, *, away: bool) -> list[Answer]:
        """The queries that were sent before storage went away, or while it was."""
        begin, end = (self.away_at, self.back_at) if away else (0.0, self.away_at)
        return [answer for answer in self.acted if begin <= answer.sent < end]

    def failures(self) -> list[str]:
        """What should have succeeded and did not."""
        failed = [f"/act {a.status} {a.body[:200]!r}" for a in self.acted if a.status != 200]
        for path in ALWAYS:
            failed += [f"{path} {status}" for status, _ in self.others[path] if status != 200]
        return failed

    def broken_promises(self) -> list[str]:
        """What did not hold, each with its first instance."""
        needy = [(path, *answer) for path in NEEDS_STORAGE for answer in self.others[path]]
        checks = {
            "queries, films or looks at health failed": self.failures(),
            "answers of what needs storage are neither 200 nor 503": [
                f"{path} {status}" for path, status, _ in needy if status not in (200, 503)
            ],
            f"answers of what needs storage took longer than {_SOON_S:g} s": [
                f"{path} {seconds:.1f} s" for path, _, seconds in needy if seconds > _SOON_S
            ],
        }
        faults = [f"{len(found)} {what}: {found[0]}" for what, found in checks.items() if found]
        if math.isinf(self.until_newest_s()[0]):
            faults.append("the newest policy never answered")
        return faults

    def until_newest_s(self) -> tuple[float, float]:
        """From storage's return to the newest policy's first answer, and to others' last one."""
        after = [
            (answer, json.loads(answer.body)["policy"])
            for answer in self.acted
            if answer.sent >= self.back_at and answer.status == 200
        ]
        first = min((a.done for a, by in after if by == self.newest), default=math.inf)
        last = max((a.done for a, by in after if by != self.newest), default=self.back_at)
        return first - self.back_at, last - self.back_at


async def observe(
    options: Options,
    port: int,
    leave: Callable[[], None],
    publish: Callable[[], str],
    come_back: Callable[[], None],
) -> Record:
    """Ask all the time, while storage leaves and comes back.

    Args:
        options: How much and how long.
        port: The service's.
        leave: Takes storage away.
        publish: Publishes a policy past the door, and says its version.
        come_back: Brings storage back.
    """
    record = Record(others={path: [] for path in (*ALWAYS, *NEEDS_STORAGE)})
    over = False
    query = post("/act", to_npy(np.zeros((84, 84, 4), np.uint8)), NPY)

    def until_it_is_over() -> Iterator[bytes]:
        while not over:
            yield query

    async def get(http: httpx.AsyncClient, path: str) -> None:
        for number in count():
            if over:
                return
            began = time.perf_counter()
            try:
                answer = await http.get(path.format(number), follow_redirects=True)
                status = answer.status_code
            except httpx.TransportError:
                status = 0
            record.others[path].append((status, time.perf_counter() - began))
            await asyncio.sleep(_PAUSE_S)

    def newest_alone() -> bool:
        """Whether the last answers are all the newest policy's."""
        last = record.acted[-10 * options.clients :]
        return all(a.sent >= record.back_at and record.newest.encode() in a.body for a in last)

    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=120) as http,
        asyncio.TaskGroup() as group,
    ):
        for path in record.others:
            group.create_task(get(http, path))
        for _ in range(options.clients):
            group.create_task(
                client(port, until_it_is_over(), record.acted.append, options.pause_s)
            )
        await asyncio.sleep(min(30.0, 60 * options.minutes))
        record.away_at = time.perf_counter()
        await asyncio.to_thread(leave)
        await asyncio.sleep(60 * options.minutes)
        record.newest = await asyncio.to_thread(publish)
        await asyncio.to_thread(come_back)
        record.back_at = time.perf_counter()
        with suppress(TimeoutError):
            async with asyncio.timeout(_BACK_S):
                while not newest_alone():  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        over = True
    return record


def describe(title: str, record: Record) -> str:
    """A row of the table."""
    before, during = record.queries(away=False), record.queries(away=True)
    p99 = [
        1000 * quantile(sorted(a.done - a.sent for a in answers), 0.99)
        for answers in (before, during)
    ]
    refused = [each for path in NEEDS_STORAGE for each in record.others[path] if each[0] == 503]
    slowest = max((seconds for path in NEEDS_STORAGE for _, seconds in record.others[path]))
    first, last = record.until_newest_s()
    films = len(record.others[ALWAYS[1]])
    return (
        f"| {title} | {record.back_at - record.away_at:.0f} | {len(record.acted):,} | {films} "
        f"| {len(record.failures())} | {p99[0]:.0f} / {p99[1]:.0f} ms "
        f"| {len(refused)}, {slowest:.1f} s | {first:.1f} s / {last:.1f} s |"
    )


def carry_out(options: Options) -> dict[str, Record]:
    """Take storage away in both manners, and print a row for each; the records by manner."""
    records: dict[str, Record] = {}
    with s3_server() as port, Door(port) as door:
        store = PolicyStore.open(_ROOT)
        store.storage.write(progress_file(RUN), read_bundled_progress())
        numbers = count(1)

        def publish() -> str:
            policy = variant(next(numbers))
            return store.publish(policy.manifest, policy.weights).version

        publish()
        environment = {
            "CARRACING_STORAGE": _ROOT,
            "AWS_ENDPOINT_URL": endpoint(door.port),
        }
        with running(OURS, environment) as server:
            print(_HEAD)
            for title, leave in {"refused": door.shut, "hanging": door.hang}.items():
                record = asyncio.run(observe(options, server.port, leave, publish, door.open))
                records[title] = record
                print(describe(title, record), flush=True)
    return records


def main() -> None:
    """Take storage away, and say what did not hold."""
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(1)
    faults = [
        f"connections {title}: {fault}"
        for title, record in carry_out(options).items()
        for fault in record.broken_promises()
    ]
    if faults:
        raise SystemExit("did not hold:\n" + "\n".join(faults))


if __name__ == "__main__":
    main()
