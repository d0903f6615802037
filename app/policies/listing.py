"""What storage holds, as everyone in this process sees it: listed seldom, and by one at a time."""

from __future__ import annotations

import asyncio
import math
from functools import partial

from app.limits import LISTINGS
from app.policies.storage_reads import StorageReads
from app.rendering.films import BusyError
from training.store.policies import Listing, PolicyStore

_KEPT_S = 5.0
_LIMIT_S = 10.0
"""Longest wait. The first listing of a large root takes longer, since it reads every manifest."""


class Lister:
    """Lists storage beside the event loop, to which its methods belong.

    A listing that takes longer than anybody waits goes on: who comes later waits for the same one,
    and what it finds is kept for as long as it took, since those who were let go come back.
    """

    def __init__(self, store: PolicyStore, reads: StorageReads) -> None:
        self._store = store
        self._reads = reads
        self._running: asyncio.Future[Listing] | None = None
        self._found = Listing([], {})
        self._begun_at = -math.inf
        self._took_s = 0.0
        self._waiting = 0

    async def listing(self, *, new: bool = False) -> Listing:
        """What storage holds, or held a few seconds ago.

        Args:
            new: Take only what is listed from now on; for who misses something. Those who wait at
                the same time share one listing.

        Raises:
            BusyError: Too many wait already.
            TimeoutError: It takes longer, and goes on. As every OSError it counts as storage that
                is away.
            OSError: Storage is away, for all who waited.
        """
        self._reads.check()
        if self._waiting >= LISTINGS:
            raise BusyError(f"{LISTINGS} wait for storage to be listed already")
        self._waiting += 1
        try:
            return await self._listing(new=new)
        finally:
            self._waiting -= 1

    async def _listing(self, *, new: bool) -> Listing:
        asked_at = asyncio.get_running_loop().time()
        late = self._took_s > _LIMIT_S
        kept_s = 2 * self._took_s if late else _KEPT_S
        if not new and self._begun_at >= asked_at - kept_s:
            return self._found
        if new and self._running is not None:
            # Begun before, it may have missed the same.
            await self._wait(self._running, asked_at + _LIMIT_S)
        if self._running is None:
            self._running = self._begin()
        running = self._running
        await self._wait(running, asked_at + _LIMIT_S)
        return running.result()

    def _begin(self) -> asyncio.Future[Listing]:
        running = self._reads.begin(self._store.listing)
        # Before anybody waits for it, and so before they go on.
        running.add_done_callback(partial(self._ended, asyncio.get_running_loop().time()))
        return running

    def _ended(self, begun_at: float, running: asyncio.Future[Listing]) -> None:
        self._running = None
        if running.cancelled() or running.exception() is not None:
            return
        self._found = running.result()
        self._begun_at = begun_at
        self._took_s = asyncio.get_running_loop().time() - begun_at

    async def _wait(self, running: asyncio.Future[Listing], until: float) -> None:
        left_s = until - asyncio.get_running_loop().time()
        done, _ = await asyncio.wait([running], timeout=left_s)
        if not done:
            raise TimeoutError(
                f"{self._store.storage.root} is still being listed after {_LIMIT_S:g} s"
            )
