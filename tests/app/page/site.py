"""The real API below a route prefix, over a real store, for a browser to open."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from app.api.application import build_api
from app.policies.loading import load_bundled
from app.policies.watcher import PolicyWatcher
from app.rendering.film_order import FilmOrder
from app.rendering.render_server import RenderServer
from app.rendering.renderer import RENDER_ERRORS, CurveOrder, RenderError
from app.settings import Settings
from tests.app.conftest import INTERVAL_S
from tests.app.rendering.test_render_server import table
from tests.conftest import build_actor, build_manifest
from tests.support.waiting import PATIENCE_S, wait_until
from training.policy.acting import Policy, weights_to_bytes
from training.policy.published import PublishedPolicy
from training.store.layout import PolicyRef, progress_file
from training.store.policies import PolicyStore

PREFIX = "/car"


class LocalRenderer:
    """Renders in this process, with what the deployment is made of."""

    def __init__(self) -> None:
        self._server = RenderServer()

    async def film(self, order: FilmOrder, files: PublishedPolicy | None = None) -> bytes:
        return self._answer(await self._server.film(order, files))

    async def curve(self, order: CurveOrder) -> bytes:
        return self._answer(await self._server.curve(order))

    @staticmethod
    def _answer(answer: bytes | RenderError) -> bytes:
        if isinstance(answer, RENDER_ERRORS):
            raise answer
        return answer


@dataclass
class Site:
    """A running service."""

    url: str
    store: PolicyStore
    bundled: Policy

    def publish(self, iteration: int) -> PolicyRef:
        """Publish a policy that knows nothing, with its run's curve up to there."""
        weights = weights_to_bytes(build_actor(seed=iteration))
        manifest = build_manifest(weights, iteration=iteration, mean_return=10.0 * iteration)
        self.store.storage.write(progress_file(manifest.run), table(iteration))
        return self.store.publish(manifest, weights)


@contextmanager
def serving(root: str, **options: Any) -> Iterator[Site]:
    """Serve what the API is in a thread, below a prefix."""
    settings = Settings(storage=root, **options)
    store, bundled = PolicyStore.open(root), load_bundled()
    watcher = PolicyWatcher(store, INTERVAL_S, fallback=bundled)
    api = build_api(settings, watcher, LocalRenderer(), store)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        # Of an application that is mounted nobody else runs it.
        async with api.router.lifespan_context(api):
            yield

    outer = Starlette(routes=[Mount(PREFIX, api)], lifespan=lifespan)
    config = uvicorn.Config(
        outer, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        assert thread.is_alive()
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Site(f"http://127.0.0.1:{port}{PREFIX}/", store, bundled)
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
