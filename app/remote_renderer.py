"""The renderer as the ingress sees it: another deployment."""

from __future__ import annotations

import asyncio
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from app.bundled import Source
from app.films import BusyError, FilmOrder
from app.renderer import RENDER_FAILURES, CurveEncoding, RenderFailure


class RemoteRenderer:
    """A :class:`app.renderer.Renderer` that asks the deployment which renders."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def film(self, order: FilmOrder) -> bytes:
        """See :meth:`app.renderer.Renderer.film`."""
        return await self._answer(self._handle.film.remote(order))

    async def curve(
        self,
        run: str,
        trial: str,
        encoding: CurveEncoding,
        finetune_at: int | None,
        source: Source = "storage",
    ) -> bytes:
        """See :meth:`app.renderer.Renderer.curve`."""
        return await self._answer(
            self._handle.curve.remote(run, trial, encoding, finetune_at, source)
        )

    @staticmethod
    async def _answer(response: Any) -> bytes:
        try:
            answer: bytes | RenderFailure = await response
        except (BackPressureError, DeploymentUnavailableError, RayActorError) as error:
            raise BusyError("the renderer does not answer at the moment") from error
        except asyncio.CancelledError:
            # Serve itself does this only where the caller has left.
            response.cancel()
            raise
        if isinstance(answer, RENDER_FAILURES):
            raise answer
        return answer
