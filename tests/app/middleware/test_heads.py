from __future__ import annotations

import httpx
import pytest

from app.middleware.heads import ADDRESS_BYTES, HEADERS_BYTES, RefuseLongHeads
from app.problems import ProblemApi
from tests.app.conftest import is_problem

pytestmark = pytest.mark.anyio


@pytest.fixture
def client() -> httpx.AsyncClient:
    api = ProblemApi()
    api.add_middleware(RefuseLongHeads)

    @api.get("/here")
    async def here() -> str:
        return "here"

    transport = httpx.ASGITransport(api)
    return httpx.AsyncClient(transport=transport, base_url="http://car.test")


@pytest.mark.parametrize("query", ["a", "a=1&", "&", "%ff"])
async def test_addresses_are_bounded(client: httpx.AsyncClient, query: str) -> None:
    room = ADDRESS_BYTES - len("/here")
    longest = (query * room)[:room]
    assert (await client.get(f"/here?{longest}")).status_code == 200
    response = await client.get(f"/here?{longest}a")
    assert "8192 bytes" in is_problem(response, 414)["detail"]


async def test_a_long_path_is_not_repeated(client: httpx.AsyncClient) -> None:
    response = await client.get("/" + "a" * ADDRESS_BYTES)
    assert response.status_code == 414
    assert response.json()["instance"] == "/" + "a" * 127


async def test_headers_are_bounded_together(client: httpx.AsyncClient) -> None:
    few = {f"X-{number:02}": "a" * 996 for number in range(HEADERS_BYTES // 1000 - 1)}
    assert (await client.get("/here", headers=few)).status_code == 200
    response = await client.get("/here", headers=few | {"X-More": "a" * 2000})
    assert "32768 bytes" in is_problem(response, 431)["detail"]
