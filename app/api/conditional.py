"""Conditional requests: does the caller have these bytes already?"""

from __future__ import annotations

import hashlib
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


def etag_of(content: bytes) -> str:
    """A strong ETag of these bytes."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def answer_if_changed(
    request: Request, content: bytes, *, headers: dict[str, str], media_type: str
) -> Response:
    """Answer with this content, or with 304 if the caller has it; a cache asks every time."""
    etag = etag_of(content)
    headers = {**headers, "ETag": etag, "Cache-Control": "no-cache"}
    if is_known(request, etag):
        return not_modified(headers)
    return Response(content, headers=headers, media_type=media_type)


def not_modified(headers: dict[str, str]) -> Response:
    """A 304 with the headers that the whole answer would have had."""
    return Response(status_code=304, headers=headers)
