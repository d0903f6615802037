"""The renderer as the ingress sees it: another deployment."""

from __future__ import annotations

import asyncio
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from app.policies.bundled import Source
from app.rendering.film_order import FilmOrder
from app.rendering.films import BusyError, FilmPolicyError
from app.rendering.renderer import RENDER_FAILURES, CurveEncoding, RenderFailure
from training.policy.acting import Policy
from training.store.published import PublishedPolicy


class RemoteRenderer:
    """A :class:`app.rendering.renderer.Renderer` that asks the deployment which renders."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle
        self._handed_over: str | None = None
        """The version of the policy that the renderer was given last."""

    async def film(self, order: FilmOrder, policy: Policy | None = None) -> bytes:
        """See :meth:`app.rendering.renderer.Renderer.film`.

        The policy goes along with its first order only, and where the renderer, which keeps a few,
        has it no more and does not find it in storage.
        """
        if policy is None:
            return await self._answer(self._handle.film.remote(order))
        if policy.version == self._handed_over:
            try:
                return await self._answer(self._handle.film.remote(order))
            except (FilmPolicyError, OSError):
                pass
        published = PublishedPolicy(policy.manifest, policy.weights)
        film = await self._answer(self._handle.film.remote(order, published))
        self._handed_over = policy.version
        return film

    async def curve(
        self,
        run: str,
        trial: str,
        encoding: CurveEncoding,
        finetune_at: int | None,
        source: Source = "storage",
    ) -> bytes:
        """See :meth:`app.rendering.renderer.Renderer.curve`."""
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
