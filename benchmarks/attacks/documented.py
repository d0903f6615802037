"""Check that a response is one that the service's OpenAPI document describes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pydantic

from app.limits import is_inference
from app.problems import PROBLEM_JSON, Problem

_FOUND: Final = frozenset({200, 304})
_UNLISTED: Final = frozenset({400, 401, 404, 405, 414, 431})
"""What addresses and methods may be answered that the document does not list."""
_BESIDE: Final = re.compile(r"/openapi\.json|/docs(/.*)?|/page/.*")
"""Addresses that are for people and answer, though the document does not list them."""


@dataclass(frozen=True)
class Answer:
    """What came back for a request."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes


class Documented:
    """An OpenAPI document, asked about answers."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._operations = [
            (re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), operations)
            for path, operations in document["paths"].items()
        ]

    def fault(self, method: str, path: str, answer: Answer) -> str:
        """What is wrong with an answer; nothing is an empty string.

        Args:
            method: Of the request.
            path: Of the request, decoded, without the query.
            answer: To it.
        """
        status = answer.status
        if status >= 500 and status != 503:
            return f"status {status}"
        if status not in self._statuses(method, path):
            return f"status {status}, which is not documented"
        if status == 503 and not answer.headers.get("retry-after", "").isdecimal():
            return "status 503 without Retry-After"
        if status < 400:
            return ""
        return _error_fault(answer) if is_inference(path) else _problem_fault(method, answer)

    def _statuses(self, method: str, path: str) -> frozenset[int]:
        wanted = "get" if method == "HEAD" else method.lower()
        for pattern, operations in self._operations:
            if pattern.fullmatch(path):
                operation = operations.get(wanted)
                if operation is None:
                    return _UNLISTED
                return frozenset(map(int, operation["responses"]))
        return _UNLISTED | _FOUND if _BESIDE.fullmatch(path) else _UNLISTED


def _error_fault(answer: Answer) -> str:
    """What is wrong with an error of the Open Inference Protocol."""
    try:
        error = json.loads(answer.body)
    except ValueError:
        return f"status {answer.status} whose body is not JSON"
    return (
        "" if isinstance(error, dict) and set(error) == {"error"} else "an error of another shape"
    )


def _problem_fault(method: str, answer: Answer) -> str:
    given = answer.headers.get("content-type", "none")
    if given != PROBLEM_JSON:
        return f"status {answer.status} of the type {given}"
    if method == "HEAD":
        return ""
    try:
        problem = Problem.model_validate_json(answer.body)
    except pydantic.ValidationError as error:
        return f"status {answer.status} whose body is not a problem: {error.errors()[0]['msg']}"
    return "" if problem.status == answer.status else "a problem of another status"
