"""Conversion of the service's errors to problem responses."""

from __future__ import annotations

from typing import Final, NamedTuple

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from app.errors import (
    CurveNotFoundError,
    NoPolicyLoadedError,
    OverloadedError,
    PolicyNotFoundError,
    RenderTimeoutError,
    StorageUnavailableError,
)
from app.limits import RETRY_AFTER_S
from app.problems import Kind, problem_response


class _Answer(NamedTuple):
    status: int
    kind: Kind
    retry_after_s: int | None = None


_ANSWERS: Final[dict[type[Exception], _Answer]] = {
    CurveNotFoundError: _Answer(404, "no-curve"),
    PolicyNotFoundError: _Answer(404, "no-such-policy"),
    NoPolicyLoadedError: _Answer(503, "no-policy", 5),
    OverloadedError: _Answer(503, "busy", RETRY_AFTER_S),
    RenderTimeoutError: _Answer(503, "render-timeout", 10),
    StorageUnavailableError: _Answer(503, "storage-away", 5),
}


def add_error_handlers(api: FastAPI) -> None:
    """Register a handler for each of the service's errors."""
    for error in _ANSWERS:
        api.add_exception_handler(error, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    status, kind, retry_after_s = _ANSWERS[type(error)]
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return problem_response(request.scope["path"], status, str(error), kind=kind, headers=headers)
