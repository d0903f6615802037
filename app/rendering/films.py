"""Render films: equal orders share one render, and finished films are cached."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Final

from cachetools import LRUCache

from app.errors import OverloadedError, PolicyNotFoundError, StorageUnavailableError
from app.metrics import FilmCounts
from app.policies.loading import load_bundled, load_stored
from app.policies.names import Source
from app.policies.storage_reader import StorageReader
from app.rendering.film_files import FilmFiles
from app.rendering.film_order import FilmOrder
from training.evaluation.film import Film
from training.evaluation.rollout import drive
from training.policy.acting import Policy
from training.policy.published import PublishedPolicy
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore

logger = logging.getLogger(__name__)

_POLICIES_KEPT: Final = 4


class AbandonedError(Exception):
    """No request waits for this film any more."""


@dataclass
class _Render:
    """A film that is waiting or being rendered."""

    task: asyncio.Task[bytes]
    abandoned: threading.Event
    waiters: int = 0


class FilmRenderer:
    """Renders films one at a time in a thread. It belongs to one event loop."""

    def __init__(
        self,
        store: PolicyStore,
        reader: StorageReader,
        *,
        max_waiting: int,
        cache_bytes: int,
        files: FilmFiles | None = None,
        niceness: int = 0,
        report: Callable[[FilmCounts], None] | None = None,
    ) -> None:
        """Prepare the cache and the thread.

        Args:
            store: Holds the published policies.
            reader: Reads the store.
            max_waiting: Different films that may wait while one is rendered.
            cache_bytes: Size of the cache of finished films in memory.
            files: Finished films in storage; None uses memory only.
            niceness: Added to the niceness of the rendering thread.
            report: Called in the event loop's thread with every change of the counts.
        """
        self._counts = FilmCounts()
        self._report = report
        self._store = store
        self._reader = reader
        self._max_waiting = max_waiting
        self._cache: LRUCache[FilmOrder, bytes] = LRUCache(cache_bytes, getsizeof=len)
        self._files = files
        self._writing: asyncio.Future[None] | None = None
        self._renders: dict[FilmOrder, _Render] = {}
        self._policies: LRUCache[tuple[Source, str, str, str], Policy] = LRUCache(_POLICIES_KEPT)
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="film", initializer=os.nice, initargs=(niceness,)
        )

    async def film(self, order: FilmOrder, policy: PublishedPolicy | None = None) -> bytes:
        """Return a film from the cache, a render in progress, storage, or a new render.

        A render is cancelled when no request waits for it any more.

        Args:
            order: What to show.
            policy: Its verified policy, if the caller has it; else it is loaded from storage.

        Raises:
            OverloadedError: Too many other films are waiting.
            PolicyNotFoundError: The policy is missing or broken, or its weights have changed.
            StorageUnavailableError: Storage cannot be read.
        """
        if (content := self._cache.get(order)) is not None:
            self._counts.hits += 1
            self._report_counts()
            return content
        render = self._renders.get(order)
        if render is None:
            if len(self._renders) > self._max_waiting:
                raise OverloadedError(f"{self._max_waiting} films are waiting already")
            abandoned = threading.Event()
            task = asyncio.create_task(self._run(order, policy, abandoned))
            # exception() marks the error as retrieved: there may be no waiter left.
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
            render = self._renders[order] = _Render(task, abandoned)
            self._counts.misses += 1
        else:
            self._counts.joined += 1
        self._report_counts()
        render.waiters += 1
        try:
            return await asyncio.shield(render.task)
        finally:
            render.waiters -= 1
            if render.waiters == 0 and not render.task.done():
                render.abandoned.set()
                self._renders.pop(order, None)
                self._report_counts()

    def close(self) -> None:
        """Cancel all films that are waiting or being rendered."""
        for render in self._renders.values():
            render.abandoned.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(
        self, order: FilmOrder, given: PublishedPolicy | None, abandoned: threading.Event
    ) -> bytes:
        try:
            content = await self._read_file(order)
            if content is None:
                content = await self._render_anew(order, given, abandoned)
            if len(content) <= self._cache.maxsize:
                self._cache[order] = content
            return content
        finally:
            # An abandoned render was removed already, and its place may be another's.
            if not abandoned.is_set():
                del self._renders[order]
            self._report_counts()

    async def _render_anew(
        self, order: FilmOrder, given: PublishedPolicy | None, abandoned: threading.Event
    ) -> bytes:
        policy = await self._policy(order, given)
        # With the caller's context, so that log lines name its request.
        run = copy_context().run
        content = await asyncio.get_running_loop().run_in_executor(
            self._thread, run, self._render, order, policy, abandoned
        )
        self._counts.rendered += 1
        self._write_file(order, content)
        return content

    async def _read_file(self, order: FilmOrder) -> bytes | None:
        if self._files is None:
            return None
        try:
            return await self._reader.read(partial(self._files.read, order))
        except StorageUnavailableError:
            return None

    def _write_file(self, order: FilmOrder, content: bytes) -> None:
        """Store a film in the background, unless the previous write has not ended yet."""
        if self._files is not None and (self._writing is None or self._writing.done()):
            self._writing = self._reader.start(partial(self._files.write, order, content))

    def _report_counts(self) -> None:
        if self._report is not None:
            self._counts.waiting = len(self._renders)
            self._counts.cache_bytes = int(self._cache.currsize)
            self._report(self._counts)

    def _render(self, order: FilmOrder, policy: Policy, abandoned: threading.Event) -> bytes:
        def check_abandoned(_: int = 0) -> None:
            if abandoned.is_set():
                raise AbandonedError(f"no request waits for {order}")

        check_abandoned()
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
                on_frames=check_abandoned,
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
            return policy
        if given is not None:
            policy = Policy.from_published(given)
        elif order.source == "bundled":
            policy = await asyncio.to_thread(load_bundled)
        else:
            ref = PolicyRef(run=order.run, version=order.version)
            policy = await self._reader.read(partial(load_stored, self._store, ref))
        if policy.manifest.digest != order.digest:
            raise PolicyNotFoundError(
                f"policy {order.version} of run {order.run} has other weights than the film's"
            )
        self._policies[key] = policy
        return policy
