from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from app.middleware.request_limits import HEADERS_BYTES, URL_BYTES, RequestLimitsMiddleware
from app.problems import ProblemApi
from tests.app.conftest import Bench, is_problem

pytestmark = pytest.mark.anyio


@pytest.fixture
def client() -> httpx.AsyncClient:
    api = ProblemApi()
    api.add_middleware(RequestLimitsMiddleware)

    @api.get("/here")
    async def here() -> str:
        return "here"

    transport = httpx.ASGITransport(api)
    return httpx.AsyncClient(transport=transport, base_url="http://car.test")


@pytest.mark.parametrize("query", ["a", "a=1&", "&", "%ff"])
async def test_addresses_are_bounded(client: httpx.AsyncClient, query: str) -> None:
    room = URL_BYTES - len("/here")
    longest = (query * room)[:room]
    assert (await client.get(f"/here?{longest}")).status_code == 200
    response = await client.get(f"/here?{longest}a")
    assert "8192 bytes" in is_problem(response, 414)["detail"]


async def test_a_long_path_is_not_repeated(client: httpx.AsyncClient) -> None:
    response = await client.get("/" + "a" * URL_BYTES)
    assert response.status_code == 414
    assert response.json()["instance"] == "/" + "a" * 127


async def test_headers_are_bounded_together(client: httpx.AsyncClient) -> None:
    few = {f"X-{number:02}": "a" * 996 for number in range(HEADERS_BYTES // 1000 - 1)}
    assert (await client.get("/here", headers=few)).status_code == 200
    response = await client.get("/here", headers=few | {"X-More": "a" * 2000})
    assert "32768 bytes" in is_problem(response, 431)["detail"]


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(8192)


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_only_a_post_brings_a_body(bench: Bench, method: str) -> None:
    for content in (b"x", _endless()):
        response = await bench.client.request(method, "/health/live", content=content)
        assert response.status_code == 400
    plain = await bench.client.request(method, "/health/live", headers={"Content-Length": "0"})
    assert plain.status_code == (405 if method == "DELETE" else 200)


async def test_the_refusal_says_why(bench: Bench) -> None:
    response = await bench.client.request("GET", "/gif?seed=1", content=b"{}")
    assert "GET takes no body" in is_problem(response, 400, "bad-body")["detail"]
