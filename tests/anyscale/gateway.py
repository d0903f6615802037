"""What stands before a service on Anyscale: it lets callers in who have the service's token."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from tests.support.waiting import PATIENCE_S

# They are about one connection, not about what is passed on.
_OF_A_CONNECTION = ("connection", "content-length", "host", "keep-alive", "transfer-encoding")


class Gateway:
    """Passes requests on by the token that they show. An ASGI application, for HTTP."""

    def __init__(self) -> None:
        self.services: dict[str, str] = {}
        """Token → the address of the service that it opens."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            response = await self._pass_on(Request(scope, receive))
            await response(scope, receive, send)

    async def _pass_on(self, request: Request) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.services:
            return PlainTextResponse("no service has this token", 401)
        async with httpx.AsyncClient(base_url=self.services[token], timeout=PATIENCE_S) as client:
            answer = await client.request(
                request.method,
                f"{request.url.path}?{request.url.query}",
                headers=_passed_on(request.headers),
                content=await request.body(),
            )
        # The body has been decoded.
        headers = _passed_on(answer.headers, "content-encoding")
        return Response(answer.content, answer.status_code, headers)


def _passed_on(headers: Mapping[str, str], *dropped: str) -> dict[str, str]:
    left = (*_OF_A_CONNECTION, *dropped)
    return {name: value for name, value in headers.items() if name.lower() not in left}
