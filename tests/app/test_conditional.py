from __future__ import annotations

import pytest
from starlette.requests import Request

from app.conditional import is_known, not_modified

ETAG = '"abc"'


def request(*values: str) -> Request:
    headers = [(b"if-none-match", value.encode()) for value in values]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": headers})


@pytest.mark.parametrize(
    ("values", "known"),
    [
        ((), False),
        (("",), False),
        (('"abc"',), True),
        (('W/"abc"',), True),
        (("*",), True),
        ((" * ",), True),
        (('"x", "abc"',), True),
        (('"x",W/"abc"',), True),
        (('"x"', '"abc"'), True),
        (('"x, y", "abc"',), True),
        (("abc",), False),
        (('"abcd"',), False),
        (('"x", "y"',), False),
        (('"*"',), False),
    ],
)
def test_if_none_match(values: tuple[str, ...], known: bool) -> None:
    assert is_known(request(*values), ETAG) == known


def test_not_modified_keeps_the_headers() -> None:
    response = not_modified({"ETag": ETAG})
    assert response.status_code == 304
    assert response.headers["ETag"] == ETAG
    assert response.body == b""
