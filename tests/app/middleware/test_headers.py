from __future__ import annotations

import pytest
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send

from app.middleware.headers import ResponseHeadersMiddleware
from app.policies.watcher import PolicyWatcher
from app.settings import Settings
from tests.app.conftest import Bench, is_problem, knock, open_bench
from tests.conftest import PublishPolicy
from training.store.policies import PolicyStore

pytestmark = pytest.mark.anyio

SHARING = "Cross-Origin-Resource-Policy"


async def test_every_answer_has_them(bench: Bench) -> None:
    for path in ("/health/live", "/", "/docs", "/policies", "/nowhere", "/gif?seed=x"):
        headers = (await bench.client.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers[SHARING] == "same-origin"
        assert headers["Content-Security-Policy"]


async def test_an_answers_own_stay(bench: Bench) -> None:
    policy = (await bench.client.get("/")).headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy


async def test_other_pages_may_show_pictures(bench: Bench, publish_policy: PublishPolicy) -> None:
    publish_policy(bench.store)
    await bench.ready()
    response = await bench.client.get("/curve.png")
    assert response.headers[SHARING] == "cross-origin"
    assert (await bench.client.get("/curve.json")).headers[SHARING] == "same-origin"
    film = await bench.client.get("/gif?max_steps=20", follow_redirects=True)
    assert film.headers[SHARING] == "cross-origin"
    assert film.headers["Cache-Control"].startswith("public, max-age")
    known = {"If-None-Match": response.headers["ETag"]}
    again = await bench.client.get("/curve.png", headers=known)
    assert again.status_code == 304
    assert SHARING not in again.headers


async def test_not_where_a_token_is_asked_for(
    clean_environment: None,
    store: PolicyStore,
    watcher: PolicyWatcher,
    publish_policy: PublishPolicy,
) -> None:
    token = "correct-horse-battery"
    publish_policy(store)
    async with open_bench(Settings(api_token=SecretStr(token)), store, watcher) as bench:
        await bench.ready()
        is_problem(await bench.client.get("/curve.png"), 401, "unauthorized")
        shown = {"Authorization": f"Bearer {token}"}
        response = await bench.client.get("/curve.png", headers=shown)
        film = await bench.client.get("/gif?max_steps=20", headers=shown, follow_redirects=True)
    assert response.status_code == film.status_code == 200
    assert response.headers[SHARING] == film.headers[SHARING] == "same-origin"
    assert film.headers["Cache-Control"].startswith("private, max-age")


async def test_a_websocket_is_told_its_requests_id() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})

    (accepted,) = await knock(ResponseHeadersMiddleware(app, private=False), x_request_id="abc")
    assert accepted["headers"] == [(b"x-request-id", b"abc")]
    (accepted,) = await knock(ResponseHeadersMiddleware(app, private=False))
    assert not accepted.get("headers")
