"""State that the routes share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import copy_context
from typing import TypeVar

from app.driving.drives import Drives
from app.errors import OverloadedError, RenderTimeoutError
from app.metrics import Meters
from app.policies.finder import PolicyFinder
from app.policies.listing import Lister
from app.policies.loading import LoadedPolicy
from app.policies.names import Source
from app.policies.storage_reader import StorageReader
from app.policies.watcher import PolicyWatcher
from app.rendering.renderer import Renderer
from app.settings import Settings
from training.store.policies import PolicyStore

T = TypeVar("T")


def version_headers(version: str, source: Source) -> dict[str, str]:
    """Headers of every response that depends on a policy."""
    return {"Policy-Version": version, "Policy-Source": source}


def policy_headers(loaded: LoadedPolicy) -> dict[str, str]:
    """The same headers for a loaded policy."""
    return version_headers(loaded.policy.version, loaded.source)


class ConcurrencyLimit:
    """Limits how much is in progress at once."""

    def __init__(self, limit: int, what: str) -> None:
        self._limit = limit
        self._what = what
        self._inside = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Count one inside the block; raises OverloadedError at the limit."""
        if self._inside >= self._limit:
            raise OverloadedError(f"{self._inside} {self._what} are in progress already")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1


class Service:
    """Settings, the policy, the renderer and storage. Its methods belong to one event loop."""

    def __init__(
        self,
        settings: Settings,
        watcher: PolicyWatcher,
        renderer: Renderer,
        store: PolicyStore,
        drives: Drives,
        meters: Meters,
    ) -> None:
        self.settings = settings
        self.watcher = watcher
        self.renderer = renderer
        self.store = store
        self.meters = meters
        self._reader = StorageReader(store.storage.root)
        self.lister = Lister(store, self._reader)
        self.policies = PolicyFinder(store, watcher, self.lister, self._reader)
        self.drives = drives
        self.simulation = ThreadPoolExecutor(1, thread_name_prefix="drive")
        """Simulates all live drives: one thread leaves most CPU time to queries."""
        self._rendering = ConcurrencyLimit(settings.film_pending, "requests for films and curves")
        self._threads = ThreadPoolExecutor(settings.act_threads, thread_name_prefix="act")
        self._json_thread = ThreadPoolExecutor(1, thread_name_prefix="act-json")

    @asynccontextmanager
    async def rendering(self) -> AsyncIterator[None]:
        """Call the renderer inside: limits how many requests wait for it, and for how long.

        Raises:
            OverloadedError: Too many requests wait.
            RenderTimeoutError: The result was not ready in time.
        """
        limit_s = self.settings.film_timeout_s
        with self._rendering.enter():
            try:
                async with asyncio.timeout(limit_s) as timer:
                    yield
            except TimeoutError as error:
                if not timer.expired():
                    raise
                raise RenderTimeoutError(
                    f"it was not ready within {limit_s:g} s; try again later, or ask for fewer "
                    "episodes, steps or pictures per second"
                ) from error

    async def compute(self, work: Callable[[], T], *, reads_json: bool) -> T:
        """Run CPU work off the event loop, in ``act_threads`` threads.

        JSON is decoded in one thread: it holds the interpreter lock, and two such threads are
        slower than one and delay the event loop.
        """
        threads = self._json_thread if reads_json else self._threads
        # With the caller's context, so that log lines name its request.
        run = copy_context().run
        return await asyncio.get_running_loop().run_in_executor(threads, run, work)

    def close(self) -> None:
        """Stop the watcher and the threads."""
        self.watcher.stop()
        self._reader.close()
        for threads in (self._threads, self._json_thread, self.simulation):
            threads.shutdown(wait=False, cancel_futures=True)
