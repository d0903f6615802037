from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from app.api.ranges import answer_with
from app.problems import ProblemApi
from tests.app.conftest import is_problem

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(100))
ETAG = '"these-bytes"'


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    api = ProblemApi()

    @api.api_route("/", methods=["GET", "HEAD"], response_class=Response)
    async def content(request: Request) -> Response:
        return answer_with(
            request, CONTENT, headers={"ETag": ETAG, "X-Kept": "yes"}, media_type="image/gif"
        )

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api), base_url="http://car.test"
    ) as client:
        yield client


async def test_the_whole(client: httpx.AsyncClient) -> None:
    response = await client.get("/")
    assert (response.status_code, response.content) == (200, CONTENT)
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["Content-Length"] == "100"
    assert "Content-Range" not in response.headers


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-9", 0, 9),
        ("bytes=90-", 90, 99),
        ("bytes=-1", 99, 99),
        ("bytes=50-100000", 50, 99),
        ("Bytes= 007-9 ", 7, 9),
    ],
)
async def test_a_part(client: httpx.AsyncClient, asked: str, first: int, last: int) -> None:
    response = await client.get("/", headers={"Range": asked})
    assert response.status_code == 206
    assert response.content == CONTENT[first : last + 1]
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/100"
    assert response.headers["Content-Length"] == str(last + 1 - first)
    assert response.headers["Content-Type"] == "image/gif"
    assert response.headers["ETag"] == ETAG
    assert response.headers["X-Kept"] == "yes"


@pytest.mark.parametrize("asked", ["bytes=100-", "bytes=-0"])
async def test_no_byte_is_in_it(client: httpx.AsyncClient, asked: str) -> None:
    response = await client.get("/", headers={"Range": asked})
    body = is_problem(response, 416, "no-such-range")
    assert "100 bytes" in body["detail"]
    assert body["errors"][0]["field"] == "header.range"
    assert response.headers["Content-Range"] == "bytes */100"
    assert response.headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "bytes=",
        "bytes=9-0",
        "bytes=a-b",
        "seconds=0-9",
        "bytes=0-9,20-29",
        f"bytes={'9' * 5000}-",
    ],
)
async def test_what_is_not_one_range_is_ignored(client: httpx.AsyncClient, asked: str) -> None:
    response = await client.get("/", headers={b"Range": asked.encode()})
    assert (response.status_code, response.content) == (200, CONTENT)


async def test_two_headers_are_several_ranges(client: httpx.AsyncClient) -> None:
    response = await client.get("/", headers=[("Range", "bytes=0-9"), ("Range", "bytes=20-29")])
    assert (response.status_code, response.content) == (200, CONTENT)


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (ETAG, 206),
        (f"W/{ETAG}", 200),
        ('"other-bytes"', 200),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 200),
        ("", 200),
    ],
)
async def test_a_part_of_other_bytes_is_the_whole(
    client: httpx.AsyncClient, condition: str, status: int
) -> None:
    response = await client.get("/", headers={"Range": "bytes=5-6", "If-Range": condition})
    assert response.status_code == status
    assert response.content == (CONTENT[5:7] if status == 206 else CONTENT)


async def test_a_condition_without_a_range_changes_nothing(client: httpx.AsyncClient) -> None:
    response = await client.get("/", headers={"If-Range": '"other-bytes"'})
    assert (response.status_code, response.content) == (200, CONTENT)


@pytest.mark.parametrize("asked", ["bytes=0-9", "bytes=100-"])
async def test_head_tells_the_size_of_the_whole(client: httpx.AsyncClient, asked: str) -> None:
    response = await client.head("/", headers={"Range": asked})
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Content-Length"] == "100"
    assert response.headers["Content-Type"] == "image/gif"
    assert response.headers["Accept-Ranges"] == "bytes"
    assert "Content-Range" not in response.headers
