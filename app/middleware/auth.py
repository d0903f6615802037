"""The token that a request has to show, where one is set: CARRACING_API_TOKEN."""

from __future__ import annotations

import base64
import hmac
from typing import Any, Final

from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.limits import HEALTH
from app.middleware.scopes import route_path
from app.middleware.socket_pass import SocketPass
from app.middleware.sockets import refuse_socket
from app.problems import problem_response, problems

UNAUTHORIZED: Final = 4401
"""Close code of a WebSocket without the token."""

_HOW = "send the service's token as `Authorization: Bearer TOKEN`, or as Basic's password"
# A header for each: browsers do not look for Basic behind another scheme in the same one.
_CHALLENGES = ('Bearer realm="carracing"', 'Basic realm="carracing", charset="UTF-8"')
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic", "description": "The password is the token."},
}


class RequireToken:
    """Lets requests in that show the token, and probes; the others are answered 401.

    A WebSocket without it is accepted and closed with 4401: a script in a page sees a close code
    and its reason, but nothing of an answer that refuses the handshake. A browser to which Basic's
    password opened the page is given a pass, which counts there and nowhere else.
    """

    def __init__(self, app: ASGIApp, token: SecretStr) -> None:
        self._app = app
        self._token = token.get_secret_value().encode()
        self._socket_pass = SocketPass(self._token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask for the token, and run the application."""
        if scope["type"] not in ("http", "websocket") or self._may_pass(scope):
            if _opens_page(scope):
                send = self._with_pass(scope, send)
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await refuse_socket(receive, send, UNAUTHORIZED, _HOW)
        else:
            response = problem_response(scope["path"], 401, _HOW, kind="unauthorized")
            for challenge in _CHALLENGES:
                response.headers.append("WWW-Authenticate", challenge)
            await response(scope, receive, send)

    def _may_pass(self, scope: Scope) -> bool:
        if route_path(scope).startswith(HEALTH):
            return True
        headers = Headers(scope=scope)
        if hmac.compare_digest(_shown(headers.get("Authorization", "")), self._token):
            return True
        return scope["type"] == "websocket" and self._socket_pass.is_shown(headers)

    def _with_pass(self, scope: Scope, send: Send) -> Send:
        """Adds a pass to the page."""
        # Something in front may end TLS.
        secure = "https" in (scope["scheme"], Headers(scope=scope).get("X-Forwarded-Proto"))

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in (200, 304):
                cookie = self._socket_pass.cookie(secure=secure)
                MutableHeaders(scope=message).append("Set-Cookie", cookie)
            await send(message)

        return send_more


def _opens_page(scope: Scope) -> bool:
    """Whether a browser asks for the page, with Basic's password."""
    if scope["type"] != "http" or route_path(scope) != "/":
        return False
    return Headers(scope=scope).get("Authorization", "").lower().startswith("basic ")


def _shown(authorization: str) -> bytes:
    """What an ``Authorization`` header shows as the token; nothing if it cannot be read."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip().encode()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials.strip(), validate=True).partition(b":")[2]
        except ValueError:
            return b""
    return b""


def describe_token(document: dict[str, Any]) -> None:
    """Say in an OpenAPI document that a token is needed, where it is."""
    document.setdefault("components", {})["securitySchemes"] = _SCHEMES
    document["security"] = [{name: []} for name in _SCHEMES]
    refused = {"401": problems(401)[401]}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path.startswith(HEALTH):
                operation["security"] = []
            else:
                operation["responses"] |= refused
