"""One shape for every error: ``application/problem+json`` as RFC 9457 describes it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.limits import RETRY_AFTER_S, is_inference

logger = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"

Kind = Literal[
    "bad-body",
    "body-too-large",
    "body-timeout",
    "bad-media-type",
    "unauthorized",
    "invalid",
    "no-policy",
    "busy",
    "render-timeout",
    "no-such-policy",
    "no-curve",
    "storage-away",
]
TITLES: dict[Kind, str] = {
    "bad-body": "The body cannot be read",
    "body-too-large": "The body is too large",
    "body-timeout": "The body did not arrive in time",
    "bad-media-type": "The body's type is not supported",
    "unauthorized": "The service's token is missing or wrong",
    "invalid": "The request is not valid",
    "no-policy": "No policy has been published yet",
    "busy": "Too many requests are waiting",
    "render-timeout": "Rendering took too long",
    "no-such-policy": "There is no such policy",
    "no-curve": "There is no training curve",
    "storage-away": "Storage cannot be read",
}


_NAME_CHARACTERS: Final = 128
_INSTANCE_CHARACTERS: Final = 128
"""Of an address, that are repeated."""
_LISTED: Final = 10
"""Faults of a request that its answer lists: an answer is not to outgrow its request."""


class FieldError(BaseModel):
    """What is wrong with one part of a request."""

    field: Annotated[str, AfterValidator(lambda name: name[:_NAME_CHARACTERS])]
    """Where it is: ``query.seed``, ``observations``, …; the caller's own names are cut."""
    message: str
    """What is wrong, and what would be right."""


class Problem(BaseModel):
    """The body of every answer with a status of 400 or more."""

    type: str
    """``about:blank``, or ``urn:carracing:`` and the kind of problem."""
    title: str
    status: int
    detail: str
    instance: str
    """The path that was asked for."""
    errors: list[FieldError] = []


class ProblemError(Exception):
    """Raised anywhere below a route to answer with a problem."""

    def __init__(
        self,
        status: int,
        kind: Kind,
        detail: str,
        *,
        field: str | None = None,
        retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the problem.

        Args:
            status: HTTP status, 400 or more.
            kind: Names the problem's type and title.
            detail: What is wrong, and what would be right.
            field: The part of the request that is to blame, if one is.
            retry_after_s: When it is worth asking again.
            headers: More headers for the answer.
        """
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.errors = [] if field is None else [FieldError(field=field, message=detail)]
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(retry_after_s)


def invalid(field: str, message: str) -> ProblemError:
    """A 422 for one field that can be read but not used."""
    return ProblemError(422, "invalid", message, field=field)


def busy(detail: str) -> ProblemError:
    """The 503 of a request that there is no room for."""
    return ProblemError(503, "busy", detail, retry_after_s=RETRY_AFTER_S)


def problem_response(
    path: str,
    status: int,
    detail: str,
    *,
    kind: Kind | None = None,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem as an HTTP response; to a request of the Open Inference Protocol, in its shape."""
    headers = {"Cache-Control": "no-store", **(headers or {})}
    if is_inference(path):
        return JSONResponse({"error": detail}, status, headers)
    problem = Problem(
        type=f"urn:carracing:{kind}" if kind else "about:blank",
        title=TITLES[kind] if kind else HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=path[:_INSTANCE_CHARACTERS],
        errors=list(errors),
    )
    return Response(
        problem.model_dump_json(exclude_defaults=True),
        status,
        headers,
        media_type=PROBLEM_JSON,
    )


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101
    return problem_response(
        request.scope["path"],
        error.status,
        error.detail,
        kind=error.kind,
        errors=error.errors,
        headers=error.headers,
    )


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    errors = [
        FieldError(field=".".join(map(str, fault["loc"])), message=fault["msg"])
        for fault in error.errors()[:_LISTED]
    ]
    detail = "; ".join(f"{fault.field}: {fault.message}" for fault in errors)
    return problem_response(request.scope["path"], 422, detail, kind="invalid", errors=errors)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    path = request.scope["path"]
    detail = {
        404: f"there is nothing at {path}; /docs lists what there is",
        405: f"{path} does not answer {request.method}",
    }.get(error.status_code, error.detail)
    headers = dict(error.headers or {})
    if headers.get("Allow") == "GET":
        # Routes of HEAD stand beside those of GET, and only the first that is found is named.
        headers["Allow"] = "GET, HEAD"
    return problem_response(path, error.status_code, detail, headers=headers)


class CatchUnhandled:
    """Answers 500 to what no handler knew, logs it, and tells the caller nothing of it.

    Starlette's own last resort raises the error again after answering, which Serve would log a
    second time and report as a failed replica call.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; what escapes it becomes a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def note_start(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, note_start)
        except ClientDisconnect:
            return  # the client has disconnected
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            if started:
                raise
            response = problem_response(
                scope["path"], 500, "something failed here that was not foreseen; it is logged"
            )
            await response(scope, receive, send)


class ProblemApi(FastAPI):
    """A FastAPI application whose every error is a problem, in its documentation as well."""

    def __init__(
        self, *, describe: Sequence[Callable[[dict[str, Any]], None]] = (), **options: Any
    ) -> None:
        """As FastAPI's; each of ``describe`` adds to the OpenAPI document."""
        super().__init__(**options)
        self._describe = describe
        self.add_exception_handler(ProblemError, _on_problem)
        self.add_exception_handler(RequestValidationError, _on_validation_error)
        self.add_exception_handler(HTTPException, _on_http_exception)
        self.add_middleware(CatchUnhandled)

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, with the schema that :func:`problems` refers to."""
        document = super().openapi()
        _, schemas = models_json_schema(
            [(Problem, "serialization")], ref_template="#/components/schemas/{model}"
        )
        document.setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
        for describe in self._describe:
            describe(document)
        return document


def inference_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """As :func:`problems`, for a route of the Open Inference Protocol."""
    error = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
    responses = problems(*statuses)
    for response in responses.values():
        response["content"] = {"application/json": {"schema": error}}
    return responses


def error_responses(path: str, *statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a path's route that can answer with these statuses."""
    return inference_errors(*statuses) if is_inference(path) else problems(*statuses)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that can answer with these statuses, and with what all can."""
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    responses: dict[int | str, dict[str, Any]] = {}
    for status in (*statuses, 414, 431, 500):
        responses[status] = {"description": HTTPStatus(status).phrase, "content": content}
        if status == 503:
            responses[status]["headers"] = {
                "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}
            }
    return responses
