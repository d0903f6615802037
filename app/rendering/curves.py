"""Draw training curves; each is drawn once per progress table."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from cachetools import LRUCache

from app.errors import CurveNotFoundError
from app.policies.bundled import read_bundled_progress
from app.policies.storage_reader import StorageReader
from app.rendering.renderer import CurveOrder
from training.evaluation.progress import ProgressError, read_progress
from training.store.layout import progress_file
from training.store.policies import PolicyStore

_CURVES_KEPT = 32


class CurveDrawer:
    """Draws curves one at a time in a thread. It belongs to one event loop."""

    def __init__(self, store: PolicyStore, reader: StorageReader, *, niceness: int = 0) -> None:
        """Prepare the thread.

        Args:
            store: Holds the runs' progress tables.
            reader: Reads the store.
            niceness: Added to the niceness of the drawing thread.
        """
        self._store = store
        self._reader = reader
        self._curves: LRUCache[tuple[CurveOrder, str], bytes] = LRUCache(_CURVES_KEPT)
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="curve", initializer=os.nice, initargs=(niceness,)
        )

    async def curve(self, order: CurveOrder) -> bytes:
        """See :meth:`app.rendering.renderer.Renderer.curve`."""
        table, path = await self._table(order)
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._draw, order, table, path
        )

    def close(self) -> None:
        """Cancel the waiting curves."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _table(self, order: CurveOrder) -> tuple[bytes, str]:
        """Return a run's progress table and its path."""
        bundled = order.source == "bundled"
        path = "the bundled progress.csv" if bundled else progress_file(order.run)
        try:
            if bundled:
                return await asyncio.to_thread(read_bundled_progress), path
            return await self._reader.read(partial(self._store.storage.read, path)), path
        except FileNotFoundError as error:
            raise CurveNotFoundError(f"run {order.run} has no progress table ({path})") from error

    def _draw(self, order: CurveOrder, table: bytes, path: str) -> bytes:
        key = (order, hashlib.sha256(table).hexdigest())
        if (known := self._curves.get(key)) is not None:
            return known
        # matplotlib is loaded with the first curve.
        from training.evaluation.curve import curve_data, draw_curve, pick_trial

        try:
            rows = pick_trial(read_progress(table), order.trial)
        except ProgressError as error:
            raise CurveNotFoundError(f"{path} holds no curve: {error}") from error
        if order.encoding == "json":
            content = json.dumps(curve_data(rows, finetune_at=order.finetune_at)).encode()
        else:
            content = draw_curve(rows, order.encoding, finetune_at=order.finetune_at)
        self._curves[key] = content
        return content
