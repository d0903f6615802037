"""The ingress deployment: serves HTTP, follows the latest or best policy, calls the renderer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fastapi import FastAPI
from ray.serve.handle import DeploymentHandle

from app.logs import route_logs
from app.metrics import serve_meters
from app.settings import load_settings

if TYPE_CHECKING:
    from training.policy.acting import Policy

logger = logging.getLogger(__name__)


class PolicyServer:
    """Serves the HTTP API. Its lifespan reads storage; the constructor does not.

    A broken bundled policy is logged and not used: storage may have a good one.

    Modules that need PyTorch are imported here: the process that starts the service needs none.
    """

    def __init__(self, renderer: DeploymentHandle) -> None:
        settings = load_settings()
        route_logs(settings.log_level)
        import torch

        from app.driving.drives import Drives
        from app.policies.watcher import PolicyWatcher
        from app.rendering.remote_renderer import RemoteRenderer
        from training.store.policies import PolicyStore

        # Before any thread starts: queries run in parallel, so each uses one core.
        torch.set_num_threads(1)
        self._settings = settings
        self._store = PolicyStore.open(settings.root)
        self._meters = serve_meters()
        self._watcher = PolicyWatcher(
            self._store,
            settings.poll_interval_s,
            follow=settings.follow,
            fallback=_fallback() if settings.bundled else None,
            on_look=self._meters.serves,
            on_reload=self._meters.reloaded,
        )
        self._renderer = RemoteRenderer(renderer)
        self._drives = Drives(settings.drives_max)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The ASGI application that Serve runs."""
        from app.api.application import build_api

        return build_api(
            self._settings,
            self._watcher,
            self._renderer,
            self._store,
            self._drives,
            self._meters,
        )

    async def close_drives(self) -> None:
        """Close the open drives: Serve waits for them before it stops this replica.

        The lifespan closes them as well, but it ends only after that wait.
        """
        await self._drives.close()

    async def check_health(self) -> None:
        """Raise if the watcher has ended. Storage and policies are a matter of readiness."""
        if not self._watcher.alive:
            raise RuntimeError("the policy watcher's thread has ended")


def _fallback() -> Policy | None:
    from app.errors import PolicyNotFoundError
    from app.policies.loading import load_bundled

    try:
        return load_bundled()
    except PolicyNotFoundError as error:
        logger.warning("%s", error)
        return None
