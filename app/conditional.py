"""Conditional requests: does the caller have these bytes already?"""

from __future__ import annotations

import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "The caller has it already."}}
"""The ``responses`` of a route that answers so."""

_ENTITY_TAG = re.compile(r'(?:W/)?("[^"]*")')


def is_known(request: Request, etag: str) -> bool:
    """Whether ``If-None-Match`` names this ETag, alone, in a list, weakly, or as ``*``."""
    given = ", ".join(request.headers.getlist("If-None-Match"))
    return given.strip() == "*" or etag in _ENTITY_TAG.findall(given)


def not_modified(headers: dict[str, str]) -> Response:
    """A 304 with the headers that the whole answer would have had."""
    return Response(status_code=304, headers=headers)
