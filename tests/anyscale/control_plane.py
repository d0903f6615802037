"""A stand-in for Anyscale's control plane: as much of its HTTP API as the tested commands call.

It keeps what it is sent. What it does not know it answers with 404 and remembers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.anyscale.account import Account
from tests.anyscale.bodies import encode
from tests.anyscale.compute_configs import ComputeConfigs
from tests.anyscale.images import Images
from tests.anyscale.operations import Listing, NotFoundError, Request
from tests.anyscale.uploads import Uploads
from tests.anyscale.workloads import Jobs, Services

TOKEN = "sss_stand_in"
_ALL = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_TELEMETRY = ("POST", "/api/v2/cli_usage/")
"""Sent after every command; nothing depends on its answer."""


class ControlPlane:
    """Everything that the command line talks to. An ASGI application."""

    def __init__(self, *, bucket: str, endpoint: str, service_url: str) -> None:
        """Know nothing yet.

        Args:
            bucket: That working directories are put into.
            endpoint: Of the S3 server that has it.
            service_url: Where a service is said to be found.
        """
        self.compute_configs = ComputeConfigs()
        self.images = Images()
        self.uploads = Uploads(bucket, endpoint)
        self.jobs = Jobs(self.images, self.compute_configs)
        self.services = Services(self.images, self.compute_configs, service_url)
        self.unknown: list[tuple[str, str]] = []
        """Method and path of every call that it has no answer to."""
        parts = (
            Account(),
            self.compute_configs,
            self.images,
            self.uploads,
            self.jobs,
            self.services,
        )
        routes = [
            Route(path, _endpoint(answer), methods=[method])
            for part in parts
            for (method, path), answer in part.operations().items()
        ]
        self._app = Starlette(routes=[*routes, Route("/{path:path}", self._refuse, methods=_ALL)])
        # The SDK's paths end as they end.
        self._app.router.redirect_slashes = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one call."""
        await self._app(scope, receive, send)

    async def _refuse(self, request: HttpRequest) -> Response:
        called = (request.method, request.url.path)
        if called != _TELEMETRY:
            self.unknown.append(called)
        return _error(404, f"{called} is not known here")


def _endpoint(answer: Callable[[Request], Any]) -> Callable[[HttpRequest], Any]:
    async def respond(http: HttpRequest) -> Response:
        if http.cookies.get("cli_token") != TOKEN:
            return _error(401, "the token is not the account's")
        content = await http.body()
        body = json.loads(content) if content else None
        request = Request(http.query_params, http.path_params, body)
        try:
            result = answer(request)
        except NotFoundError as error:
            return _error(404, str(error))
        except ValueError as error:
            return _error(400, str(error))
        if isinstance(result, Listing):
            metadata = {"total": len(result.results), "next_paging_token": None}
            return JSONResponse({"results": encode(result.results), "metadata": metadata})
        return JSONResponse({"result": encode(result)})

    return respond


def _error(status: int, detail: str) -> Response:
    return JSONResponse({"error": {"detail": detail}}, status)
