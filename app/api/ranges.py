"""Byte ranges: a part of the bytes that an address holds, as RFC 9110 has it."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.problems import ProblemError

# Not more digits than any size has: no number in a header takes long to read.
_ONE_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})", re.IGNORECASE)

_PART_BYTES: Final = 64 * 1024


class InParts(Response):
    """Sends its body in parts, each once the one before is on its way.

    As one, all of it would be kept for a caller that does not read, who would no longer be counted
    among those that the service has to do with.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer."""
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        for first in range(0, len(self.body), _PART_BYTES):
            part = self.body[first : first + _PART_BYTES]
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})


def answer_with(
    request: Request, content: bytes, *, headers: dict[str, str], media_type: str
) -> Response:
    """Answer a GET or a HEAD with these bytes, or with the part of them that is asked for.

    Several ranges at once, other units and what cannot be read are answered with the whole, as is
    a range of other bytes than these. A HEAD knows no ranges, and its answer has no body.

    Args:
        request: Its ``Range`` and ``If-Range`` are heeded.
        content: All of the bytes.
        headers: Of the answer; its strong ``ETag`` names these bytes.
        media_type: Of the bytes.

    Raises:
        ProblemError: 416, the range holds none of the bytes.
    """
    size = len(content)
    headers = {**headers, "Accept-Ranges": "bytes"}
    if request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(size)}, media_type=media_type)
    given = request.headers.getlist("Range")
    # A part is of use only to who has the rest of these very bytes, and a date or a weak tag does
    # not promise that.
    same = request.headers.get("If-Range", headers["ETag"]) == headers["ETag"]
    asked = _read(given[0].strip(), size) if len(given) == 1 and same else None
    if asked is None:
        return InParts(content, headers=headers, media_type=media_type)
    if not asked:
        raise ProblemError(
            416,
            "no-such-range",
            f"none of the {size} bytes is in the range {given[0]}; the first of them is byte 0",
            field="header.range",
            headers={"Accept-Ranges": "bytes", "Content-Range": f"bytes */{size}"},
        )
    headers["Content-Range"] = f"bytes {asked.start}-{asked.stop - 1}/{size}"
    return InParts(content[asked.start : asked.stop], 206, headers, media_type)


def _read(header: str, size: int) -> range | None:
    """Those of ``size`` bytes that are asked for, maybe none; None where it is not one range."""
    found = _ONE_RANGE.fullmatch(header)
    if found is None:
        return None
    first, last = found.groups()
    if not first:
        return range(max(size - int(last), 0), size) if last else None
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size) if last else size)
