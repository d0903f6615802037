"""``If-None-Match`` on an address that has an ETag."""

from __future__ import annotations

import pytest

from tests.app.conftest import Bench

pytestmark = pytest.mark.anyio


async def test_what_the_caller_has_is_not_sent_again(bench: Bench) -> None:
    whole = await bench.client.get("/")
    etag = whole.headers["ETag"]
    for given in ([etag], [f"W/{etag}"], ["*"], [f'"x, y",{etag}'], ['"x"', etag]):
        headers = [("If-None-Match", value) for value in given]
        response = await bench.client.get("/", headers=headers)
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["ETag"] == etag
        assert response.headers["Cache-Control"] == whole.headers["Cache-Control"]


async def test_what_it_does_not_have_is_sent(bench: Bench) -> None:
    etag = (await bench.client.get("/")).headers["ETag"]
    for given in ("", etag.strip('"'), f'{etag[:-1]}d"', '"x", "y"', '"*"'):
        response = await bench.client.get("/", headers={"If-None-Match": given})
        assert response.status_code == 200
