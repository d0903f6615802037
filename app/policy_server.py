"""The ingress deployment: follows the newest policy, acts, and passes renders on."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import torch
from fastapi import FastAPI
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from app.api import build_api
from app.bundled import Source, load_bundled
from app.films import BusyError, FilmOrder
from app.logs import route_logs
from app.metrics import serve_meters
from app.policy_watcher import PolicyWatcher
from app.renderer import RENDER_FAILURES, CurveEncoding, RenderFailure
from app.settings import load_settings
from training.policy import Policy
from training.store import BrokenPolicyError, PolicyStore

logger = logging.getLogger(__name__)


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


def _fallback() -> Policy | None:
    try:
        return load_bundled()
    except (BrokenPolicyError, OSError) as error:
        logger.warning("the bundled policy cannot be used: %s", error)
        return None


class PolicyServer:
    """Answers HTTP in its replica's process. Storage is not touched here: the API's lifespan does.

    A bundled policy that is not whole is logged and done without: storage may have a good one.
    """

    def __init__(self, renderer: DeploymentHandle) -> None:
        settings = load_settings()
        route_logs(settings.log_level)
        # Before any thread: queries share the cores by being many, not by being split.
        torch.set_num_threads(1)
        self._settings = settings
        self._store = PolicyStore.open(settings.root)
        self._meters = serve_meters()
        self._watcher = PolicyWatcher(
            self._store,
            settings.poll_interval_s,
            fallback=_fallback() if settings.bundled else None,
            on_look=self._meters.serves,
            on_reload=self._meters.reloaded,
        )
        self._renderer = RemoteRenderer(renderer)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The application that Serve routes requests to."""
        return build_api(self._settings, self._watcher, self._renderer, self._store, self._meters)

    async def check_health(self) -> None:
        """Healthy as long as the watcher runs; storage and policies are readiness's matter."""
        if not self._watcher.alive:
            raise RuntimeError("the policy watcher's thread has ended")
