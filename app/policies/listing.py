"""Listings of storage, shared by all requests of this process."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import Final

from app.errors import OverloadedError, StorageUnavailableError
from app.limits import LISTINGS
from app.policies.storage_reader import StorageReader
from training.store.policies import Listing, PolicyStore

_KEPT_S: Final = 5.0
_TIMEOUT_S: Final = 10.0
"""Longest wait. The first listing of a large root takes longer: it reads every manifest."""


class Lister:
    """Lists storage off the event loop, at most once at a time. It belongs to one event loop.

    A listing continues after its callers' timeout, and later callers wait for the same one. Its
    result is kept for as long as it took, so that callers that come back find it.
    """

    def __init__(self, store: PolicyStore, reader: StorageReader) -> None:
        self._store = store
        self._reader = reader
        self._running: asyncio.Future[Listing] | None = None
        self._found = Listing([], {})
        self._started_at = -math.inf
        self._took_s = 0.0
        self._waiting = 0

    async def listing(self) -> Listing:
        """Return what storage holds, or held a few seconds ago.

        Raises:
            OverloadedError: Too many callers wait already.
            StorageUnavailableError: Storage cannot be read, or the listing takes too long.
        """
        self._reader.check()
        if self._waiting >= LISTINGS:
            raise OverloadedError(f"{LISTINGS} requests wait for a listing of storage already")
        self._waiting += 1
        try:
            return await self._listing()
        finally:
            self._waiting -= 1

    async def _listing(self) -> Listing:
        now = asyncio.get_running_loop().time()
        kept_s = 2 * self._took_s if self._took_s > _TIMEOUT_S else _KEPT_S
        if self._started_at >= now - kept_s:
            return self._found
        if self._running is None:
            self._running = self._reader.start(self._store.listing)
            self._running.add_done_callback(partial(self._ended, now))
        running = self._running
        done, _ = await asyncio.wait([running], timeout=_TIMEOUT_S)
        if not done:
            raise StorageUnavailableError(
                f"{self._store.storage.root} is still being listed after {_TIMEOUT_S:g} s"
            )
        return running.result()

    def _ended(self, started_at: float, running: asyncio.Future[Listing]) -> None:
        self._running = None
        if running.cancelled() or running.exception() is not None:
            return
        self._found = running.result()
        self._started_at = started_at
        self._took_s = asyncio.get_running_loop().time() - started_at
