"""The deployment that renders, in a process of its own: acting never waits for it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import torch

from app.bundled import Source, read_bundled_progress
from app.films import FilmOrder, FilmStudio
from app.logs import route_logs
from app.metrics import serve_meters
from app.renderer import RENDER_FAILURES, CurveEncoding, NoCurveError, RenderFailure
from app.settings import load_settings
from training.progress import ProgressError, read_progress
from training.store import PolicyStore, progress_file

_CURVES_KEPT = 32

_CurveKey = tuple[str, str, CurveEncoding, int | None]


class RenderServer:
    """Films and training curves, out of what storage holds, and the bundled policy's.

    The failures that :class:`app.renderer.Renderer` names are returned, not raised: Serve would
    log each of them with a traceback, and they are ordinary answers.
    """

    def __init__(self) -> None:
        # First: __del__ is called even where the settings are refused.
        self._closing = ExitStack()
        settings = load_settings()
        route_logs(settings.log_level)
        # Before any thread: a render is to take one core, however many there are.
        torch.set_num_threads(1)
        self._store = PolicyStore.open(settings.root)
        self._studio = FilmStudio(
            self._store,
            max_waiting=settings.film_max_waiting,
            cache_bytes=settings.film_cache_bytes,
            report=serve_meters().films,
        )
        self._curves: OrderedDict[_CurveKey, bytes] = OrderedDict()
        self._closing.callback(self._studio.close)
        self._curve_thread = ThreadPoolExecutor(1, thread_name_prefix="curve")
        self._closing.callback(self._curve_thread.shutdown, wait=False, cancel_futures=True)

    def __del__(self) -> None:
        """Give up what is being rendered; Serve calls this once requests have been answered."""
        self._closing.close()

    async def film(self, order: FilmOrder) -> bytes | RenderFailure:
        """See :meth:`app.renderer.Renderer.film`."""
        try:
            return await self._studio.film(order)
        except RENDER_FAILURES as error:
            return error

    async def curve(
        self,
        run: str,
        trial: str,
        encoding: CurveEncoding,
        finetune_at: int | None,
        source: Source = "storage",
    ) -> bytes | RenderFailure:
        """See :meth:`app.renderer.Renderer.curve`."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._curve_thread, self._draw, run, trial, encoding, finetune_at, source
            )
        except RENDER_FAILURES as error:
            return error

    def _draw(
        self,
        run: str,
        trial: str,
        encoding: CurveEncoding,
        finetune_at: int | None,
        source: Source,
    ) -> bytes:
        bundled = source == "bundled"
        path = "the bundled progress.csv" if bundled else progress_file(run)
        try:
            table = read_bundled_progress() if bundled else self._store.storage.read(path)
        except FileNotFoundError as error:
            raise NoCurveError(f"run {run} has no table of its progress ({path})") from error
        key = (hashlib.sha256(table).hexdigest(), trial, encoding, finetune_at)
        if (known := self._curves.get(key)) is not None:
            return known
        # Only this process pays for matplotlib, and only once it is asked for a curve.
        from training.curve import curve_data, draw_curve, pick_trial

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
