from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.app.conftest import Bench, is_problem

pytestmark = pytest.mark.anyio


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
