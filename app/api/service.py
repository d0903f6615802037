"""What the routes share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import copy_context
from typing import TypeVar

from app.api.schemas import SERVED
from app.driving.drives import Drives
from app.metrics import Meters
from app.policies.bundled import Source
from app.policies.listing import Lister
from app.policies.shelf import PolicyShelf, UnknownPolicyError
from app.policies.storage_reads import StorageReads
from app.policies.watcher import LoadedPolicy, PolicyWatcher
from app.problems import ProblemError, busy, no_policy
from app.rendering.films import BusyError, FilmPolicyError
from app.rendering.renderer import NoCurveError, Renderer
from app.settings import Settings
from training.store.policies import PolicyStore

T = TypeVar("T")


def version_headers(version: str, source: Source) -> dict[str, str]:
    """What every answer says that depends on a policy."""
    return {"Policy-Version": version, "Policy-Source": source}


def policy_headers(loaded: LoadedPolicy) -> dict[str, str]:
    """The same for the policy that is served."""
    return version_headers(loaded.policy.version, loaded.source)


class Gate:
    """Lets so much in at once, and turns the rest away."""

    def __init__(self, limit: int, what: str) -> None:
        self._limit = limit
        self._what = what
        self._inside = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Be inside meanwhile; raises ProblemError, 503, when there is no room."""
        if self._inside >= self._limit:
            raise busy(f"{self._inside} {self._what} are under way already")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1


@contextmanager
def failures_as_problems() -> Iterator[None]:
    """Turn what storage and the renderer may fail with into the problem to answer."""
    try:
        yield
    except BusyError as error:
        raise busy(str(error)) from error
    except (FilmPolicyError, UnknownPolicyError) as error:
        raise ProblemError(404, "no-such-policy", str(error)) from error
    except NoCurveError as error:
        raise ProblemError(404, "no-curve", str(error)) from error
    except OSError as error:
        raise ProblemError(
            503, "storage-away", f"storage cannot be read: {error}", retry_after_s=5
        ) from error


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
        self._reads = StorageReads(store.storage.root)
        self.lister = Lister(store, self._reads)
        self.shelf = PolicyShelf(store, watcher, self.lister, self._reads)
        self.drives = drives
        self.simulation = ThreadPoolExecutor(1, thread_name_prefix="drive")
        """Where all live drives are simulated: one thread leaves queries the most."""
        self._rendering = Gate(settings.film_pending, "requests for films and curves")
        self._threads = ThreadPoolExecutor(settings.act_threads, thread_name_prefix="act")
        self._json_thread = ThreadPoolExecutor(1, thread_name_prefix="act-json")

    def loaded(self) -> LoadedPolicy:
        """The policy to serve, read once; raises ProblemError, 503, before there is one."""
        loaded = self.watcher.loaded
        if loaded is None:
            raise no_policy(self.store.storage.root)
        return loaded

    async def find(self, name: str) -> LoadedPolicy:
        """The policy of a name, see :meth:`PolicyShelf.find`; raises ProblemError."""
        loaded = self.loaded()
        if name == SERVED:
            return loaded
        with failures_as_problems():
            return await self.shelf.find(name)

    @asynccontextmanager
    async def rendering(self) -> AsyncIterator[None]:
        """Ask the renderer inside: in bounded number and time, and failures become problems."""
        limit = self.settings.film_timeout_s
        with self._rendering.enter(), failures_as_problems():
            try:
                async with asyncio.timeout(limit) as timer:
                    yield
            except TimeoutError as error:
                # Storage's own time limits raise the same.
                if not timer.expired():
                    raise
                raise ProblemError(
                    503,
                    "render-timeout",
                    f"it was not ready within {limit:g} s; ask again when less is going on, or for "
                    "fewer episodes, steps or pictures per second",
                    retry_after_s=10,
                ) from error

    async def compute(self, work: Callable[[], T], *, reads_json: bool) -> T:
        """Run work for the processor beside the event loop, as many at once as is set.

        One at a time where it reads JSON: that holds the interpreter, and two that contend for it
        leave the event loop little and are slower than one after the other.
        """
        threads = self._json_thread if reads_json else self._threads
        # With the caller's context, so that log lines of the work name its request.
        run = copy_context().run
        return await asyncio.get_running_loop().run_in_executor(threads, run, work)

    def close(self) -> None:
        """Stop the watcher and the threads."""
        self.watcher.stop()
        self._reads.close()
        for threads in (self._threads, self._json_thread, self.simulation):
            threads.shutdown(wait=False, cancel_futures=True)
