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
from app.policies.names import Source
from app.policies.storage_reader import StorageReader
from app.rendering.renderer import CurveEncoding
from training.evaluation.progress import ProgressError, read_progress
from training.store.layout import progress_file
from training.store.policies import PolicyStore

_CURVES_KEPT = 32

_CurveKey = tuple[str, str, CurveEncoding, int | None]


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
        self._curves: LRUCache[_CurveKey, bytes] = LRUCache(_CURVES_KEPT)
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="curve", initializer=os.nice, initargs=(niceness,)
        )

    async def curve(
        self,
        run: str,
        trial: str,
        encoding: CurveEncoding,
        finetune_at: int | None,
        source: Source = "storage",
    ) -> bytes:
        """See :meth:`app.rendering.renderer.Renderer.curve`."""
        table, path = await self._table(run, source)
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._draw, table, path, trial, encoding, finetune_at
        )

    def close(self) -> None:
        """Cancel the waiting curves."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _table(self, run: str, source: Source) -> tuple[bytes, str]:
        """Return a run's progress table and its path."""
        bundled = source == "bundled"
        path = "the bundled progress.csv" if bundled else progress_file(run)
        try:
            if bundled:
                return await asyncio.to_thread(read_bundled_progress), path
            return await self._reader.read(partial(self._store.storage.read, path)), path
        except FileNotFoundError as error:
            raise CurveNotFoundError(f"run {run} has no progress table ({path})") from error

    def _draw(
        self,
        table: bytes,
        path: str,
        trial: str,
        encoding: CurveEncoding,
        finetune_at: int | None,
    ) -> bytes:
        key = (hashlib.sha256(table).hexdigest(), trial, encoding, finetune_at)
        if (known := self._curves.get(key)) is not None:
            return known
        # matplotlib is loaded with the first curve.
        from training.evaluation.curve import curve_data, draw_curve, pick_trial

        try:
            rows = pick_trial(read_progress(table), trial)
        except ProgressError as error:
            raise CurveNotFoundError(f"{path} holds no curve: {error}") from error
        if encoding == "json":
            content = json.dumps(curve_data(rows, finetune_at=finetune_at)).encode()
        else:
            content = draw_curve(rows, encoding, finetune_at=finetune_at)
        self._curves[key] = content
        return content
