"""What the routes share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from app.policy_watcher import LoadedPolicy, PolicyWatcher
from app.problems import ProblemError, no_policy
from app.renderer import Renderer
from app.settings import Settings
from training.store import PolicyStore

VERSION_HEADER = "Policy-Version"

T = TypeVar("T")


class Gate:
    """Lets a number of requests in at once, and turns the others away."""

    def __init__(self, limit: int, what: str) -> None:
        self._limit = limit
        self._what = what
        self._inside = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Be one of those inside; raises ProblemError, 503, when there is no room."""
        if self._inside >= self._limit:
            raise busy(f"{self._limit} {self._what} are under way already")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1


def busy(detail: str) -> ProblemError:
    """The 503 of too many requests."""
    return ProblemError(503, "busy", detail, retry_after_s=2)


class Service:
    """Settings, the policy, the renderer and storage. Its methods belong to one event loop."""

    def __init__(
        self, settings: Settings, watcher: PolicyWatcher, renderer: Renderer, store: PolicyStore
    ) -> None:
        self.settings = settings
        self.watcher = watcher
        self.renderer = renderer
        self.store = store
        self.acting = Gate(settings.act_pending, "queries")
        self.rendering = Gate(settings.film_pending, "requests for films and curves")
        self._threads = ThreadPoolExecutor(settings.act_threads, thread_name_prefix="act")

    def loaded(self) -> LoadedPolicy:
        """The policy to serve, read once; raises ProblemError, 503, before there is one."""
        loaded = self.watcher.loaded
        if loaded is None:
            raise no_policy(self.store.storage.root)
        return loaded

    async def compute(self, work: Callable[[], T]) -> T:
        """Run work for the processor beside the event loop, as many at once as is set."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """Stop the watcher and the threads."""
        self.watcher.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)
