"""What several middlewares read from an ASGI scope."""

from __future__ import annotations

from starlette.types import Scope


def route_path(scope: Scope) -> str:
    """A request's path in this application, which may be mounted below another one's prefix."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
