"""What stands before Serve on this machine: before its HTTP proxy, or each replica's HTTP server.

app/local/serve.py names it to Serve, which imports it in those processes.
"""

from __future__ import annotations

import os
import re
import uuid
from dataclasses import dataclass
from typing import Final

from ray import serve
from ray.serve.exceptions import RayServeException
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import HTTP_PROTOCOLS

from app.limits import HEALTH, QUERY, RETRY_S, other_requests
from app.local.proxy import SWITCH
from app.metrics import TURNED_AWAY, Meters, RaySink
from app.middleware.headers import EVERYWHERE, PLAIN_ID, REQUEST_ID
from app.middleware.sockets import TRY_AGAIN, GuardedSocket, refuse_socket
from app.problems import Kind, problem_response

_PLAIN_ID = re.compile(PLAIN_ID)
_SERVES_OWN: Final = ("/-/healthz", "/-/routes")
_CALLER_LEFT: Final = 499
_NO_REPLICA: Final = "no replica is ready"
# With these a caller could steer Serve: keep it at work after having left, for instance. It takes
# an underscore for a hyphen in some of them, and cannot read them all in any coding.
_TIMEOUT: Final = "x-request-timeout-seconds"
_UNWATCHED: Final = "x-request-disconnect-disabled"
_STEERING: Final = frozenset(
    name.encode() for name in (_TIMEOUT, _UNWATCHED, "x-session-id", "serve-multiplexed-model-id")
)
_ID_NAME: Final = REQUEST_ID.lower().encode()


@dataclass
class _Room:
    """For requests of one kind."""

    limit: int
    inside: int = 0


class Front:
    """Turns away what there is no room for, and makes problems of what Serve itself answers.

    To refuse a request costs a small part here of what it costs Serve and a replica, so those that
    are let in do not wait for those that are not. Probes are always let in.

    A caller's request id is kept if it is short and plain; any other is replaced.
    """

    def __init__(self, app: ASGIApp, meters: Meters, *, queries: int, others: int) -> None:
        """Stand before an application.

        Args:
            app: Serve.
            meters: Told of those that are turned away.
            queries: Requests to act that are let in at once: no more than one replica takes, since
                what it would refuse in the end delays the others on the way there.
            others: Other requests that are let in at once, probes not counted.
        """
        self._app = app
        self._meters = meters
        self._queries = _Room(queries)
        self._others = _Room(others)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        if scope["type"] not in ("http", "websocket") or scope["path"] in _SERVES_OWN:
            await self._app(scope, receive, send)
            return
        _clean(scope)
        if scope["path"].startswith(HEALTH):
            await self._pass(scope, receive, send)
            return
        room = self._others
        if scope["path"] == QUERY:
            room = self._queries
            # It bounds its own time, and is done before Serve would notice that its caller left:
            # tasks that watch for either would cost more than the query.
            MutableHeaders(scope=scope).update({_TIMEOUT: "0", _UNWATCHED: "?1"})
        if room.inside >= room.limit:
            await self._turn_away(scope, receive, send, room)
            return
        room.inside += 1
        try:
            await self._pass(scope, receive, send)
        finally:
            room.inside -= 1

    async def _turn_away(self, scope: Scope, receive: Receive, send: Send, room: _Room) -> None:
        self._meters.turned_away()
        detail = f"{room.limit} such requests are under way already"
        if scope["type"] == "websocket":
            await refuse_socket(receive, send, TRY_AGAIN, detail)
        else:
            problem = _problem(scope, 503, detail, kind="busy", retry_after=str(RETRY_S))
            await problem(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            # A drive lasts as long as its client wants.
            MutableHeaders(scope=scope)[_TIMEOUT] = "0"
            socket = GuardedSocket(receive, send)
            await self._app(scope, socket.receive, socket.send)
            await socket.end()
        else:
            await self._pass_http(scope, receive, send)

    async def _pass_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve's own errors, in plain text or without an answer, become problems."""
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
            problem = _problem(scope, 503, detail, retry_after=str(RETRY_S))
            await problem(scope, receive, send)


def _clean(scope: Scope) -> None:
    """Take out what would steer Serve, and give the request one plain id."""
    ids = [value for name, value in scope["headers"] if name == _ID_NAME]
    plain = len(ids) == 1 and _PLAIN_ID.fullmatch(ids[0].decode("latin-1"))
    scope["headers"] = [
        (name, value)
        for name, value in scope["headers"]
        if (meant := name.replace(b"_", b"-")) not in _STEERING and meant != _ID_NAME
    ]
    scope["headers"].append((_ID_NAME, ids[0] if plain else str(uuid.uuid4()).encode()))


def _instead_of(scope: Scope, start: Message) -> Response | None:
    """The problem to answer in place of an error of Serve's; None for the service's own answers."""
    headers = Headers(scope=start)
    status = start["status"]
    plain = headers.get("Content-Type", "").startswith("text/plain")
    if status < 400 or status == _CALLER_LEFT or not plain:
        return None
    # It knows no route, 404, while the service comes or goes.
    if status in (404, 429, 503):
        detail = "the service is starting, or too many requests are waiting for it"
        after = headers.get("Retry-After", str(RETRY_S))
        status = 503 if status == 404 else status
        return _problem(scope, status, detail, kind="busy", retry_after=after)
    return _problem(scope, status, "Serve answered this in place of the service")


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


def ignore_upgrade_offers() -> None:
    """Have uvicorn parse requests with h11 in this process.

    By default it takes httptools, which drops the body of a request that offers h2c, and reads the
    body as the next request (Kludex/uvicorn#2722). Serve has no option for it. HAProxy removes such
    offers.
    """
    HTTP_PROTOCOLS["auto"] = HTTP_PROTOCOLS["h11"]


class NoReplica:
    """Answers 503 to everything, in Serve's own proxy behind HAProxy.

    HAProxy uses that proxy only when no replica is up. It would hold each request until one is.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Answer in place of an application: Serve's proxy."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, unless Serve itself sends it."""
        if scope["type"] not in ("http", "websocket") or scope["path"] in _SERVES_OWN:
            await self._app(scope, receive, send)
            return
        _clean(scope)
        if scope["type"] == "websocket":
            await refuse_socket(receive, send, TRY_AGAIN, _NO_REPLICA)
            return
        problem = _problem(scope, 503, _NO_REPLICA, retry_after=str(RETRY_S))
        await problem(scope, receive, send)


def middlewares() -> list[Middleware]:
    """What Serve is to run before itself."""
    if os.environ.get(SWITCH) != "1":
        ignore_upgrade_offers()
    elif not _is_replica():
        return [Middleware(NoReplica)]
    # Settings would import the simulator: app/local/serve.py leaves the one that is needed here.
    queries = int(os.environ["CARRACING_ACT_PENDING"])
    meters = Meters(RaySink([TURNED_AWAY]))
    others = other_requests(queries)
    return [Middleware(Front, meters=meters, queries=queries, others=others)]


def _is_replica() -> bool:
    """Whether this process is a replica, and not Serve's proxy."""
    try:
        serve.get_replica_context()
    except RayServeException:
        return False
    return True
