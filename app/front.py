"""What stands before Serve's HTTP proxy on this machine; Serve loads it by its name.

See RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH in app/local.py.
"""

from __future__ import annotations

import re
import uuid
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.headers import EVERYWHERE, REQUEST_ID
from app.limits import HEALTH, PROBES, REPLICA_REQUESTS
from app.metrics import Meters, RaySink
from app.problems import Kind, problem_response
from app.sockets import refuse_socket

FULL: Final = 1013
"""Close code of a WebSocket for which there is no room."""
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SERVES_OWN: Final = "/-/"
# With these a caller could steer Serve: keep it at work after having left, for instance.
_STEERING: Final = (
    "x-request-timeout-seconds",
    "x-request-disconnect-disabled",
    "x-session-id",
    "serve_multiplexed_model_id",
    "serve-multiplexed-model-id",
)


class Front:
    """Turns away what there is no room for, and makes problems of what Serve itself answers.

    To refuse a request costs a small part here of what it costs the proxy and a replica, so those
    that are let in do not wait for those that are not. Probes are always let in.

    A caller's request id is kept if it is short and plain; any other is replaced.
    """

    def __init__(
        self, app: ASGIApp, meters: Meters, limit: int = REPLICA_REQUESTS - PROBES
    ) -> None:
        """Stand before an application.

        Args:
            app: Serve's proxy.
            meters: Told of those that are turned away.
            limit: Requests that are let in at once, probes not counted.
        """
        self._app = app
        self._meters = meters
        self._limit = limit
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        if scope["type"] not in ("http", "websocket") or scope["path"].startswith(_SERVES_OWN):
            await self._app(scope, receive, send)
            return
        _clean(MutableHeaders(scope=scope))
        if scope["path"].startswith(HEALTH):
            await self._pass(scope, receive, send)
        elif self._inside >= self._limit:
            await self._turn_away(scope, receive, send)
        else:
            self._inside += 1
            try:
                await self._pass(scope, receive, send)
            finally:
                self._inside -= 1

    async def _turn_away(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._meters.turned_away()
        detail = f"{self._limit} requests are under way already"
        if scope["type"] == "websocket":
            await refuse_socket(receive, send, FULL, detail)
        else:
            await _problem(scope, 503, detail, kind="busy", retry_after="2")(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask the proxy; its own errors, in plain text or without an answer, become problems."""
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        answered = False
        instead: Response | None = None

        async def send_on(message: Message) -> None:
            nonlocal answered, instead
            if message["type"] == "http.response.start":
                answered = True
                instead = _instead_of(scope, message)
                if instead is not None:
                    await instead(scope, receive, send)
            if instead is None:
                await send(message)

        await self._app(scope, receive, send_on)
        if not answered:
            detail = "the process that worked on this has ended; another takes its place"
            await _problem(scope, 503, detail, retry_after="2")(scope, receive, send)


def _clean(headers: MutableHeaders) -> None:
    for name in _STEERING:
        del headers[name]
    if not _SANE_ID.fullmatch(headers.get(REQUEST_ID, "")):
        headers[REQUEST_ID] = str(uuid.uuid4())


def _instead_of(scope: Scope, start: Message) -> Response | None:
    """The problem to answer in place of an error of Serve's; None for the service's own answers."""
    headers = Headers(scope=start)
    status = start["status"]
    if status < 400 or not headers.get("Content-Type", "").startswith("text/plain"):
        return None
    if status in (429, 503):
        detail = "the service is starting, or too many requests are waiting for it"
        after = headers.get("Retry-After", "2")
        return _problem(scope, status, detail, kind="busy", retry_after=after)
    return _problem(scope, status, "Serve's proxy answered this in place of the service")


def _problem(
    scope: Scope,
    status: int,
    detail: str,
    *,
    kind: Kind | None = None,
    retry_after: str | None = None,
) -> Response:
    headers = {REQUEST_ID: Headers(scope=scope)[REQUEST_ID], **EVERYWHERE}
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    return problem_response(scope["path"], status, detail, kind=kind, headers=headers)


def middlewares() -> list[Middleware]:
    """What Serve's proxy is to run before itself."""
    return [Middleware(Front, meters=Meters(RaySink()))]
