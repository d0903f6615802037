"""Conditional requests: ETag, If-None-Match and 304."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "Not modified: the client has this content."}
}
"""The ``responses`` of a route with conditional requests."""

_ENTITY_TAG = re.compile(r'(?:W/)?("[^"]*")')


def is_known(request: Request, etag: str) -> bool:
    """Return whether ``If-None-Match`` contains this ETag, also in a list, weak, or as ``*``."""
    given = ", ".join(request.headers.getlist("If-None-Match"))
    return given.strip() == "*" or etag in _ENTITY_TAG.findall(given)


def etag_of(content: bytes) -> str:
    """Return a strong ETag of the content."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def answer_if_changed(
    request: Request, content: bytes, *, headers: dict[str, str], media_type: str
) -> Response:
    """Return the content, or 304 if the client has it; caches must revalidate."""
    etag = etag_of(content)
    headers = {**headers, "ETag": etag, "Cache-Control": "no-cache"}
    if is_known(request, etag):
        return not_modified(headers)
    return Response(content, headers=headers, media_type=media_type)


def not_modified(headers: dict[str, str]) -> Response:
    """Return a 304 with the headers of the full response."""
    return Response(status_code=304, headers=headers)
