"""Films to order: each is rendered once, whoever asks for it, and kept for a while."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial

from app.metrics import FilmCounts
from app.policies.bundled import Source, read_bundled
from app.policies.storage_reads import StorageReads
from app.rendering.film_order import FilmOrder
from training.evaluation.film import Film
from training.evaluation.rollout import drive
from training.policy.acting import Policy
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore
from training.store.published import BrokenPolicyError, PublishedPolicy

logger = logging.getLogger(__name__)

_POLICIES_KEPT = 4


class BusyError(Exception):
    """Too much is waiting already; the message says what."""


class FilmPolicyError(Exception):
    """A film's policy is not where it was any more, or not as it was; the message names it."""


class AbandonedError(Exception):
    """Nobody waits for this film any more."""


@dataclass
class _Flight:
    """A film that is waiting or being rendered."""

    task: asyncio.Task[bytes]
    abandoned: threading.Event
    waiters: int = 0


@dataclass
class ByteCache:
    """Keeps what was used last, up to a number of bytes."""

    capacity: int
    used: int = 0
    _items: OrderedDict[FilmOrder, bytes] = field(default_factory=OrderedDict)

    def get(self, order: FilmOrder) -> bytes | None:
        """A film that is still there."""
        content = self._items.get(order)
        if content is not None:
            self._items.move_to_end(order)
        return content

    def put(self, order: FilmOrder, content: bytes) -> None:
        """Keep a film, unless it is larger than all of the cache."""
        if len(content) > self.capacity or order in self._items:
            return
        self._items[order] = content
        self.used += len(content)
        while self.used > self.capacity:
            _, dropped = self._items.popitem(last=False)
            self.used -= len(dropped)


class FilmStudio:
    """Renders films one after the other in a thread. Its methods belong to one event loop."""

    def __init__(
        self,
        store: PolicyStore,
        reads: StorageReads,
        *,
        max_waiting: int,
        cache_bytes: int,
        niceness: int = 0,
        report: Callable[[FilmCounts], None] | None = None,
    ) -> None:
        """Open the studio.

        Args:
            store: Where the films' policies are, but the bundled one.
            reads: How they are read.
            max_waiting: Different films that may wait while one is rendered.
            cache_bytes: Size of the cache of finished films.
            niceness: Of the thread that renders, added to this process's.
            report: Told in the event loop's thread whenever something changes.
        """
        self._counts = FilmCounts()
        self._report = report
        self._store = store
        self._reads = reads
        self._max_waiting = max_waiting
        self._cache = ByteCache(cache_bytes)
        self._flights: dict[FilmOrder, _Flight] = {}
        self._policies: OrderedDict[tuple[Source, str, str, str], Policy] = OrderedDict()
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="film", initializer=os.nice, initargs=(niceness,)
        )

    @property
    def renders(self) -> int:
        """Films that were rendered to their end."""
        return self._counts.rendered

    async def film(self, order: FilmOrder, policy: PublishedPolicy | None = None) -> bytes:
        """The film as a file: from the cache, with whoever waits for it, or rendered.

        A film that nobody waits for any more is given up.

        Args:
            order: What to show.
            policy: Its policy, verified, where the caller has it; else storage is asked.

        Raises:
            BusyError: Too many other films are waiting.
            FilmPolicyError: The policy is not where it was any more, or not as it was.
            OSError: Storage is away.
        """
        if (content := self._cache.get(order)) is not None:
            self._counts.hits += 1
            self._tell()
            return content
        flight = self._flights.get(order)
        if flight is None:
            if len(self._flights) > self._max_waiting:
                raise BusyError(f"{self._max_waiting} films are waiting already")
            abandoned = threading.Event()
            task = asyncio.create_task(self._fly(order, policy, abandoned))
            # Retrieved here for the case that everyone has left.
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
            flight = self._flights[order] = _Flight(task, abandoned)
            self._counts.misses += 1
        else:
            self._counts.joined += 1
        self._tell()
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if flight.waiters == 0 and not flight.task.done():
                flight.abandoned.set()
                self._flights.pop(order, None)
                self._tell()

    def close(self) -> None:
        """Give up everything that is waiting or being rendered."""
        for flight in self._flights.values():
            flight.abandoned.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _fly(
        self, order: FilmOrder, given: PublishedPolicy | None, abandoned: threading.Event
    ) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            policy = await self._policy(order, given)
            # With the context, so that what is logged names the request that it is done for.
            render = copy_context().run
            content = await loop.run_in_executor(
                self._thread, render, self._render, order, policy, abandoned
            )
            self._counts.rendered += 1
            self._cache.put(order, content)
            return content
        finally:
            # One that was abandoned has left already, and its place may be another's.
            if not abandoned.is_set():
                del self._flights[order]
            self._tell()

    def _tell(self) -> None:
        if self._report is not None:
            self._counts.waiting = len(self._flights)
            self._counts.cache_bytes = self._cache.used
            self._report(self._counts)

    def _render(self, order: FilmOrder, policy: Policy, abandoned: threading.Event) -> bytes:
        def go_on(_: int = 0) -> None:
            if abandoned.is_set():
                raise AbandonedError(f"nobody waits for {order}")

        go_on()
        began = time.perf_counter()
        film = Film(order.encoding, width=order.width)
        for episode in range(order.episodes):
            drive(
                policy,
                order.seed + episode,
                simulator="fast",
                max_frames=order.max_steps,
                film_fps=order.fps,
                shoot=film.add,
                on_frames=go_on,
            )
        content = film.encode()
        logger.info(
            "rendered %d pictures (%d KiB) of %s on track %d in %.1f s",
            len(film),
            len(content) // 1024,
            order.version,
            order.seed,
            time.perf_counter() - began,
        )
        return content

    async def _policy(self, order: FilmOrder, given: PublishedPolicy | None) -> Policy:
        key = (order.source, order.run, order.version, order.digest)
        if (policy := self._policies.get(key)) is not None:
            self._policies.move_to_end(key)
            return policy
        if given is not None:
            policy = Policy.from_published(given)
        elif order.source == "bundled":
            policy = await asyncio.to_thread(self._fetch, order)
        else:
            policy = await self._reads.read(partial(self._fetch, order))
        self._policies[key] = policy
        if len(self._policies) > _POLICIES_KEPT:
            self._policies.popitem(last=False)
        return policy

    def _fetch(self, order: FilmOrder) -> Policy:
        bundled = order.source == "bundled"
        place = "bundled" if bundled else "in storage"
        gone = f"policy {order.version} of run {order.run} is not {place} any more"
        try:
            published = (
                read_bundled()
                if bundled
                else self._store.fetch(PolicyRef(run=order.run, version=order.version))
            )
            if published.manifest.digest != order.digest:
                raise FilmPolicyError(f"{gone} with the weights that are served")
            return Policy.from_published(published)
        except FileNotFoundError as error:
            raise FilmPolicyError(gone) from error
        except BrokenPolicyError as error:
            raise FilmPolicyError(f"{gone} as it was: {error}") from error
