"""Run everything at once for a while: do memory or open files grow, does anything fail?

    python -m benchmarks.faults.soak
    python -m benchmarks.faults.soak --minutes 1 --sample-s 2     a quick look

Clients ask for actions, films, curves and the list of policies and drive in both modes, while
policies are published. Prints memory and open files of the service's processes over time, and the
failures. The service keeps few films, so that its cache is full before growth is measured.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, count, repeat
from typing import Final

import httpx
import numpy as np
import torch
import tyro
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from app.policies.bundled import read_bundled_progress
from benchmarks.faults.growth import Sample, growth
from benchmarks.support.load import Answer, client, post
from benchmarks.support.processes import usage
from benchmarks.support.running import NPY, OURS, SMALL_CACHE, Running, running, to_npy
from benchmarks.support.variants import RUN, variant
from training.store.layout import progress_file
from training.store.policies import PolicyStore

_PICTURE: Final = struct.Struct("<BBHI")
"""How a picture of a live drive begins: kind, lane, flags, frame."""
_DRIVE_S: Final = 30.0
"""A drive's connection lasts that long, and then another is opened."""


@dataclass(frozen=True)
class Options:
    """How long, and how often the service's processes are looked at."""

    minutes: float = 15.0
    """How long everything goes on."""
    sample_s: float = 10.0
    """Seconds between two looks."""
    publish_s: float = 20.0
    """Seconds between two publications."""
    pause_s: float = 0.02
    """Pause of each acting client between two requests, and of a drive between two pictures."""

    def __post_init__(self) -> None:
        """Refuse what says nothing."""
        if min(self.sample_s, self.publish_s) <= 0 or self.pause_s < 0:
            raise ValueError("--sample-s and --publish-s must be above 0, --pause-s not below")
        if self.minutes * 60 < 9 * self.sample_s:
            raise ValueError(
                f"--minutes is {self.minutes:g}, too short for nine looks {self.sample_s:g} s apart"
            )


@dataclass
class Tally:
    """What was asked, by kind, and what of it failed, by kind and reason."""

    asked: Counter[str] = field(default_factory=Counter)
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)

    def note(self, kind: str, fault: str = "") -> None:
        """One more; a fault says why it failed."""
        self.asked[kind] += 1
        if fault:
            self.failed[kind, fault] += 1


def twice_each() -> Iterator[int]:
    """1, 1, 2, 2, …: what is new, and what is still in a cache."""
    return chain.from_iterable(repeat(number, 2) for number in count(1))


class Soak:
    """Everything that goes on at once."""

    def __init__(self, options: Options, server: Running) -> None:
        self.tally = Tally()
        self.samples: list[Sample] = []
        self._options = options
        self._server = server
        self._store = PolicyStore.open(str(server.store))
        self._begin = time.monotonic()
        self._end = self._begin + 60 * options.minutes

    async def run(self) -> None:
        """Let it all go on until its time is over."""
        self._store.storage.write(progress_file(RUN), read_bundled_progress())
        async with (
            httpx.AsyncClient(base_url=self._server.url, timeout=120) as http,
            asyncio.TaskGroup() as group,
        ):
            paths = {
                "/gif": "/gif?seed={}&max_steps=300",
                "/webp": "/webp?seed={}&max_steps=200",
                "/curve.png": "/curve.png?finetune_at={}",
                "/policies": "/policies?limit=20",
                "/health/ready": "/health/ready",
            }
            for kind, path in paths.items():
                group.create_task(self._get(http, kind, path))
            for seed in range(2):
                group.create_task(self._act(seed))
            group.create_task(self._drive("frames", "mode=frames", self._send_pictures))
            group.create_task(self._drive("live", "mode=live&rival=bundled", self._watch))
            group.create_task(self._publish())
            group.create_task(self._sample())

    def _goes_on(self) -> bool:
        return time.monotonic() < self._end

    async def _act(self, seed: int) -> None:
        """Ask for actions; each hundred over a new connection."""
        observation = np.random.default_rng(seed).integers(0, 256, (84, 84, 4), np.uint8)
        request = post("/act", to_npy(observation), NPY)

        def note(answer: Answer) -> None:
            self.tally.note("/act", "" if answer.status == 200 else f"status {answer.status}")

        while self._goes_on():
            await client(self._server.port, [request] * 100, note, self._options.pause_s)

    async def _get(self, http: httpx.AsyncClient, kind: str, path: str) -> None:
        """Ask for one address after the other."""
        for number in twice_each():
            if not self._goes_on():
                return
            try:
                answer = await http.get(path.format(number), follow_redirects=True)
                fault = "" if answer.is_success else f"status {answer.status_code}"
            except httpx.HTTPError as error:
                fault = type(error).__name__
            self.tally.note(kind, fault)
            await asyncio.sleep(0.5)

    async def _drive(
        self, kind: str, query: str, talk: Callable[[ClientConnection], Awaitable[None]]
    ) -> None:
        """Open one connection after the other."""
        url = f"ws://127.0.0.1:{self._server.port}/drive?{query}"
        while self._goes_on():
            fault = ""
            try:
                async with connect(url, max_size=None) as socket:
                    await talk(socket)
            except ConnectionClosed as error:
                fault = f"closed: {error.rcvd.code if error.rcvd else 'without a word'}"
            except (OSError, WebSocketException) as error:
                fault = type(error).__name__
            self.tally.note(f"drive, {kind}", fault)
            if fault:
                await asyncio.sleep(1.0)

    async def _send_pictures(self, socket: ClientConnection) -> None:
        """Send pictures, and begin a new episode now and then."""
        end = time.monotonic() + _DRIVE_S
        picture = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8).tobytes()
        await socket.recv()
        for number in count(1):
            if time.monotonic() > end:
                return
            text = number % 200 == 0
            await socket.send(json.dumps({"type": "reset"}) if text else picture)
            await socket.recv()
            await asyncio.sleep(self._options.pause_s)

    async def _watch(self, socket: ClientConnection) -> None:
        """Watch two cars; on another track from half time on, and where both have arrived."""
        end = time.monotonic() + _DRIVE_S
        change = end - _DRIVE_S / 2
        while (now := time.monotonic()) < end:
            try:
                async with asyncio.timeout(end - now):
                    message = await socket.recv()
            except TimeoutError:
                return
            if isinstance(message, bytes):
                _, _, _, frame = _PICTURE.unpack_from(message)
                await socket.send(json.dumps({"type": "seen", "frame": frame}))
            over = isinstance(message, str) and json.loads(message)["type"] == "end"
            if over or now > change:
                change = end
                await socket.send(json.dumps({"type": "track", "seed": int(now) % 1000}))

    async def _publish(self) -> None:
        for number in count(1):
            if not self._goes_on():
                return
            policy = await asyncio.to_thread(variant, number)
            await asyncio.to_thread(self._store.publish, policy.manifest, policy.weights)
            await asyncio.sleep(self._options.publish_s)

    async def _sample(self) -> None:
        while self._goes_on():
            minutes = (time.monotonic() - self._begin) / 60
            processes = await asyncio.to_thread(usage, self._server.pid)
            self.samples.append(Sample(minutes, processes))
            await asyncio.sleep(self._options.sample_s)


def main() -> None:
    """Let it go on, and print what it came to."""
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(1)
    with running(OURS, SMALL_CACHE) as server:
        soak = Soak(options, server)
        asyncio.run(soak.run())
    print(f"\n{options.minutes:g} minutes, {len(soak.samples)} samples\n")
    print("| asked for | times | failed |")
    print("|---|---|---|")
    for kind, times in sorted(soak.tally.asked.items()):
        faults = [
            f"{many} × {fault}" for (of, fault), many in soak.tally.failed.items() if of == kind
        ]
        print(f"| {kind} | {times:,} | {', '.join(faults) or 0} |")
    print(f"\n{growth(soak.samples)}")


if __name__ == "__main__":
    main()
