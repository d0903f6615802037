"""Training curves to order: each is drawn once for the table that it is drawn from."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from app.policies.bundled import Source, read_bundled_progress
from app.policies.storage_reads import StorageReads
from app.rendering.renderer import CurveEncoding, NoCurveError
from training.evaluation.progress import ProgressError, read_progress
from training.store.layout import progress_file
from training.store.policies import PolicyStore

_CURVES_KEPT = 32

_CurveKey = tuple[str, str, CurveEncoding, int | None]


class CurveDrawer:
    """Draws curves one after the other in a thread. Its methods belong to one event loop."""

    def __init__(self, store: PolicyStore, reads: StorageReads, *, niceness: int = 0) -> None:
        """Get ready.

        Args:
            store: Where the runs' tables are.
            reads: How they are read.
            niceness: Of the thread that draws, added to this process's.
        """
        self._store = store
        self._reads = reads
        self._curves: OrderedDict[_CurveKey, bytes] = OrderedDict()
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
        """Give up what is waiting."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _table(self, run: str, source: Source) -> tuple[bytes, str]:
        """A run's table, and where it was found."""
        bundled = source == "bundled"
        path = "the bundled progress.csv" if bundled else progress_file(run)
        try:
            if bundled:
                return await asyncio.to_thread(read_bundled_progress), path
            return await self._reads.read(partial(self._store.storage.read, path)), path
        except FileNotFoundError as error:
            raise NoCurveError(f"run {run} has no table of its progress ({path})") from error

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
        # Nobody pays for matplotlib before a curve is asked for.
        from training.evaluation.curve import curve_data, draw_curve, pick_trial

        try:
            rows = pick_trial(read_progress(table), trial)
        except ProgressError as error:
            raise NoCurveError(f"{path} holds no curve: {error}") from error
        if encoding == "json":
            content = json.dumps(curve_data(rows, finetune_at=finetune_at)).encode()
        else:
            content = draw_curve(rows, encoding, finetune_at=finetune_at)
        self._curves[key] = content
        if len(self._curves) > _CURVES_KEPT:
            self._curves.popitem(last=False)
        return content
