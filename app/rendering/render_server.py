"""The deployment that renders, in a process of its own: acting never waits for it."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from app.logs import route_logs
from app.metrics import serve_meters
from app.settings import load_settings

if TYPE_CHECKING:
    from app.policies.bundled import Source
    from app.rendering.film_order import FilmOrder
    from app.rendering.renderer import CurveEncoding, RenderFailure
    from training.store.published import PublishedPolicy

_NICENESS: Final = 10
"""Of the threads that render, so that queries come first on a core that they share. It ends at 19,
and Ray's own processes have 15."""


class RenderServer:
    """Films and training curves, out of what storage holds, and the bundled policy's.

    The failures that :class:`app.rendering.renderer.Renderer` names are returned, not raised:
    Serve would log each of them with a traceback, and they are ordinary answers.

    What needs PyTorch is imported here: the process that starts the service does without it.
    """

    def __init__(self) -> None:
        # First: __del__ is called even where the settings are refused.
        self._closing = ExitStack()
        settings = load_settings()
        route_logs(settings.log_level)
        import torch

        from app.policies.storage_reads import StorageReads
        from app.rendering.curves import CurveDrawer
        from app.rendering.films import FilmStudio
        from training.store.policies import PolicyStore

        # Before any thread: a render is to take one core, however many there are.
        torch.set_num_threads(1)
        store = PolicyStore.open(settings.root)
        reads = StorageReads(settings.root)
        self._closing.callback(reads.close)
        self._studio = FilmStudio(
            store,
            reads,
            max_waiting=settings.film_max_waiting,
            cache_bytes=settings.film_cache_bytes,
            niceness=_NICENESS,
            report=serve_meters().films,
        )
        self._closing.callback(self._studio.close)
        self._curves = CurveDrawer(store, reads, niceness=_NICENESS)
        self._closing.callback(self._curves.close)

    def __del__(self) -> None:
        """Give up what is being rendered; Serve calls this once requests have been answered."""
        self._closing.close()

    async def film(
        self, order: FilmOrder, policy: PublishedPolicy | None = None
    ) -> bytes | RenderFailure:
        """See :meth:`app.rendering.films.FilmStudio.film`."""
        return await _answer(self._studio.film(order, policy))

    async def curve(
        self,
        run: str,
        trial: str,
        encoding: CurveEncoding,
        finetune_at: int | None,
        source: Source = "storage",
    ) -> bytes | RenderFailure:
        """See :meth:`app.rendering.renderer.Renderer.curve`."""
        return await _answer(self._curves.curve(run, trial, encoding, finetune_at, source))


async def _answer(rendering: Awaitable[bytes]) -> bytes | RenderFailure:
    from app.rendering.renderer import RENDER_FAILURES

    try:
        return await rendering
    except RENDER_FAILURES as error:
        return error
