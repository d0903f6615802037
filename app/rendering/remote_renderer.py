"""Call the renderer's deployment from the ingress."""

from __future__ import annotations

import asyncio
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from app.errors import OverloadedError, PolicyNotFoundError, StorageUnavailableError
from app.rendering.film_order import FilmOrder
from app.rendering.renderer import RENDER_ERRORS, CurveOrder, RenderError
from training.policy.published import PublishedPolicy


class RemoteRenderer:
    """A :class:`app.rendering.renderer.Renderer` that calls the renderer's deployment."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def film(self, order: FilmOrder, files: PublishedPolicy | None = None) -> bytes:
        """See :meth:`app.rendering.renderer.Renderer.film`.

        The files are sent only if the renderer has dropped the policy and cannot load it from
        storage.
        """
        try:
            return await self._answer(self._handle.film.remote(order))
        except (PolicyNotFoundError, StorageUnavailableError):
            if files is None:
                raise
        return await self._answer(self._handle.film.remote(order, files))

    async def curve(self, order: CurveOrder) -> bytes:
        """See :meth:`app.rendering.renderer.Renderer.curve`."""
        return await self._answer(self._handle.curve.remote(order))

    @staticmethod
    async def _answer(response: Any) -> bytes:
        try:
            answer: bytes | RenderError = await response
        except (BackPressureError, DeploymentUnavailableError, RayActorError) as error:
            raise OverloadedError("the renderer does not answer at the moment") from error
        except asyncio.CancelledError:
            # Serve itself cancels only the requests of clients that disconnect.
            response.cancel()
            raise
        if isinstance(answer, RENDER_ERRORS):
            raise answer
        return answer
