"""What storage holds, as everyone in this process sees it: listed seldom, and by one at a time."""

from __future__ import annotations

import asyncio
import math

from app.films import BusyError
from app.limits import LISTINGS
from app.storage_reads import StorageReads
from training.store import Listing, PolicyStore

_KEPT_S = 5.0
_LIMIT_S = 10.0
"""Longest wait: the first listing of a large root reads every manifest, and the next goes on."""


class Lister:
    """Lists storage beside the event loop, to which its methods belong."""

    def __init__(self, store: PolicyStore, reads: StorageReads) -> None:
        self._store = store
        self._reads = reads
        self._lock = asyncio.Lock()
        self._found: Listing | OSError = Listing([], {})
        self._begun_at = -math.inf
        self._waiting = 0

    async def listing(self, *, new: bool = False) -> Listing:
        """What storage holds, or held a few seconds ago.

        Args:
            new: Take only what is listed from now on; for who misses something. Those who wait at
                the same time share one listing.

        Raises:
            BusyError: Too many wait already.
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
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        async with self._lock:
            kept_s = 0.0 if new or isinstance(self._found, OSError) else _KEPT_S
            if self._begun_at < asked_at - kept_s:
                begun_at = loop.time()
                try:
                    found: Listing | OSError = await self._reads.read(
                        self._store.listing, limit_s=_LIMIT_S
                    )
                except OSError as error:
                    found = error
                self._begun_at, self._found = begun_at, found
            if isinstance(self._found, OSError):
                raise self._found
            return self._found
