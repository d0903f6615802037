"""Authentication with one token, if CARRACING_API_TOKEN is set."""

from __future__ import annotations

import base64
import hmac
from typing import Any, Final

from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.limits import PROBES
from app.middleware.scopes import route_path
from app.middleware.websocket_cookie import WebSocketCookie
from app.middleware.websockets import refuse_websocket
from app.problems import error_responses, problem_response

UNAUTHORIZED: Final = 4401
"""Close code of a WebSocket without the token."""

_HOW = "send the service's token as `Authorization: Bearer TOKEN`, or as Basic's password"
# One header each: browsers do not find Basic behind another scheme in the same header.
_CHALLENGES = ('Bearer realm="carracing"', 'Basic realm="carracing", charset="UTF-8"')
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic", "description": "The password is the token."},
}


class TokenMiddleware:
    """Returns 401 without a valid token, except for health probes.

    A WebSocket without the token is accepted and closed with 4401: a script in a page sees a close
    code and its reason, but not the response to a rejected handshake. A browser that opened the
    page with Basic authentication gets a cookie, which is valid for WebSockets alone.
    """

    def __init__(self, app: ASGIApp, token: SecretStr) -> None:
        self._app = app
        self._token = token.get_secret_value().encode()
        self._websocket_cookie = WebSocketCookie(self._token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application if the request is authenticated."""
        if scope["type"] not in ("http", "websocket") or self._is_authenticated(scope):
            if _opens_page(scope):
                send = self._with_cookie(scope, send)
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await refuse_websocket(receive, send, UNAUTHORIZED, _HOW)
        else:
            response = problem_response(scope["path"], 401, _HOW, kind="unauthorized")
            for challenge in _CHALLENGES:
                response.headers.append("WWW-Authenticate", challenge)
            await response(scope, receive, send)

    def _is_authenticated(self, scope: Scope) -> bool:
        if route_path(scope).startswith(PROBES):
            return True
        headers = Headers(scope=scope)
        if hmac.compare_digest(_token_in(headers.get("Authorization", "")), self._token):
            return True
        return scope["type"] == "websocket" and self._websocket_cookie.is_valid(headers)

    def _with_cookie(self, scope: Scope, send: Send) -> Send:
        """Adds a cookie to the response with the page."""
        # A proxy in front may terminate TLS.
        secure = "https" in (scope["scheme"], Headers(scope=scope).get("X-Forwarded-Proto"))

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in (200, 304):
                cookie = self._websocket_cookie.cookie(secure=secure)
                MutableHeaders(scope=message).append("Set-Cookie", cookie)
            await send(message)

        return send_more


def _opens_page(scope: Scope) -> bool:
    """Whether a browser requests the page with Basic authentication."""
    if scope["type"] != "http" or route_path(scope) != "/":
        return False
    return Headers(scope=scope).get("Authorization", "").lower().startswith("basic ")


def _token_in(authorization: str) -> bytes:
    """The token in an ``Authorization`` header; empty if there is none."""
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
    """Add the security schemes and the 401 to an OpenAPI document."""
    document.setdefault("components", {})["securitySchemes"] = _SCHEMES
    document["security"] = [{name: []} for name in _SCHEMES]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path.startswith(PROBES):
                operation["security"] = []
            else:
                operation["responses"] |= {"401": error_responses(path, 401)[401]}
