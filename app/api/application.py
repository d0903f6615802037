"""Build the HTTP API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from app.api.errors import add_error_handlers
from app.api.routes.act import act_routes
from app.api.routes.curve import curve_routes
from app.api.routes.docs import docs_routes
from app.api.routes.drive import drive_routes
from app.api.routes.films import film_routes
from app.api.routes.inference import inference_routes
from app.api.routes.page import page_routes
from app.api.routes.status import status_routes
from app.api.service import Service
from app.driving.drives import Drives
from app.metrics import Meters
from app.middleware.admission import AdmissionMiddleware
from app.middleware.auth import TokenMiddleware, describe_token
from app.middleware.headers import ResponseHeadersMiddleware
from app.middleware.origins import CORS, WebSocketOriginMiddleware
from app.middleware.request_limits import RequestLimitsMiddleware, describe_limits
from app.middleware.request_metrics import RequestMetricsMiddleware
from app.middleware.websockets import WebSocketBacklogMiddleware
from app.policies.watcher import PolicyWatcher
from app.problems import TITLES, ProblemApi
from app.rendering.renderer import Renderer
from app.settings import Settings
from training.store.policies import PolicyStore

_FIRST_LOOK_S = 20.0
"""Longest wait for storage at the start, before the bundled policy is served."""

_ABOUT = """\
Drives CarRacing-v3 from pixels with the newest policy that training has published. Until there is
one, a policy that is bundled with the service drives.

`WS /drive` is a WebSocket, so it is not listed here: it answers the pictures of the client's
environment with actions, or drives in real time and streams pictures; `docs/service.md` has its
messages.

Every response that depends on a policy has its version in the header `Policy-Version` and its
source, `storage` or `bundled`, in `Policy-Source`. Every error is `application/problem+json`
(RFC 9457), including 404 and 405 for paths and methods that are not listed here. A 503 has
`Retry-After`. Errors below `/v2` have the shape of the Open Inference Protocol. The type of a
problem is `about:blank` or one of

""" + "\n".join(f"- `urn:carracing:{kind}`: {title}" for kind, title in TITLES.items())


def build_api(
    settings: Settings,
    watcher: PolicyWatcher,
    renderer: Renderer,
    store: PolicyStore,
    drives: Drives | None = None,
    meters: Meters | None = None,
) -> FastAPI:
    """Build the API. Its lifespan starts and stops the watcher and closes the drives."""
    drives = drives or Drives(settings.drives_max)
    meters = meters or Meters()
    token, origins = settings.api_token, settings.cors_origins
    service = Service(settings, watcher, renderer, store, drives, meters)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watcher.start()
        # Wait for the first storage check, so that a new replica never serves an older policy than
        # its peers, or the bundled one although storage has a policy.
        if not await asyncio.to_thread(watcher.wait_looked, _FIRST_LOOK_S):
            watcher.fall_back()
        yield
        await drives.close()
        await asyncio.to_thread(service.close)

    api = ProblemApi(
        title="CarRacing PPO",
        version="1",
        description=_ABOUT,
        lifespan=lifespan,
        describe=[describe_limits, describe_token] if token else [describe_limits],
        docs_url=None,
        redoc_url=None,
        # Relative to the document's address, so that a path prefix is kept.
        servers=[{"url": "."}],
        root_path_in_servers=False,
    )
    add_error_handlers(api)
    # Redirects of trailing slashes are not documented responses.
    api.router.redirect_slashes = False
    for routes in (
        *(act_routes, film_routes, curve_routes, status_routes, drive_routes),
        inference_routes,
    ):
        api.include_router(routes(service))
    api.include_router(page_routes())
    api.include_router(docs_routes(api.title))
    # From the innermost to the outermost: a refusal is counted and has its headers as well.
    api.add_middleware(WebSocketBacklogMiddleware)
    api.add_middleware(
        AdmissionMiddleware,
        max_queries=settings.act_pending,
        max_body_bytes=settings.max_body_bytes,
        body_timeout_s=settings.body_timeout_s,
    )
    api.add_middleware(RequestLimitsMiddleware)
    if token:
        api.add_middleware(TokenMiddleware, token=token)
    api.add_middleware(WebSocketOriginMiddleware, origins=origins)
    if origins:
        api.add_middleware(CORSMiddleware, allow_origins=origins, **CORS)
    api.add_middleware(ResponseHeadersMiddleware, private=token is not None)
    api.add_middleware(RequestMetricsMiddleware, meters=meters)
    return api
