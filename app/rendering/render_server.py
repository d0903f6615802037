"""The deployment that renders films and curves, in a process of its own."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from app.logs import route_logs
from app.metrics import serve_meters
from app.settings import load_settings

if TYPE_CHECKING:
    from app.rendering.film_order import FilmOrder
    from app.rendering.renderer import CurveOrder, RenderError
    from training.policy.published import PublishedPolicy

_NICENESS: Final = 10
"""Added to the niceness of the rendering threads: queries have priority on a shared core."""


class RenderServer:
    """Renders films and training curves of published policies and of the bundled one.

    The errors of :class:`app.rendering.renderer.Renderer` are returned, not raised: Serve would log
    each of them with a traceback, and they are ordinary answers.

    PyTorch is imported here, not above: the process that starts the service does not need it.
    """

    def __init__(self) -> None:
        # First: __del__ is called even if the settings are invalid.
        self._closing = ExitStack()
        settings = load_settings()
        route_logs(settings.log_level)
        import torch

        from app.policies.storage_reader import StorageReader
        from app.rendering.curves import CurveDrawer
        from app.rendering.film_files import FilmFiles
        from app.rendering.films import FilmRenderer
        from training.store.policies import PolicyStore

        # Before any thread starts: a render takes one core.
        torch.set_num_threads(1)
        store = PolicyStore.open(settings.root)
        reader = StorageReader(settings.root)
        self._closing.callback(reader.close)
        self._films = FilmRenderer(
            store,
            reader,
            max_waiting=settings.film_max_waiting,
            cache_bytes=settings.film_cache_bytes,
            files=FilmFiles(store.storage, settings.film_cache_bytes),
            niceness=_NICENESS,
            report=serve_meters().films,
        )
        self._closing.callback(self._films.close)
        self._curves = CurveDrawer(store, reader, niceness=_NICENESS)
        self._closing.callback(self._curves.close)

    def __del__(self) -> None:
        """Cancel all rendering; Serve calls this after the last request is answered."""
        self._closing.close()

    async def film(
        self, order: FilmOrder, policy: PublishedPolicy | None = None
    ) -> bytes | RenderError:
        """See :meth:`app.rendering.films.FilmRenderer.film`."""
        return await _answer(self._films.film(order, policy))

    async def curve(self, order: CurveOrder) -> bytes | RenderError:
        """See :meth:`app.rendering.renderer.Renderer.curve`."""
        return await _answer(self._curves.curve(order))


async def _answer(rendering: Awaitable[bytes]) -> bytes | RenderError:
    from app.rendering.renderer import RENDER_ERRORS

    try:
        return await rendering
    except RENDER_ERRORS as error:
        return error
