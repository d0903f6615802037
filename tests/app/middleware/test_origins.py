from __future__ import annotations

import pytest
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send

from app.middleware.origins import FOREIGN_PAGE, WebSocketOriginMiddleware
from app.policies.watcher import PolicyWatcher
from app.settings import Settings
from tests.app.conftest import Bench, is_problem, knock, open_bench
from training.store.policies import PolicyStore

pytestmark = pytest.mark.anyio

FRIEND = "https://friend.example"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization",
}


@pytest.fixture
def settings(clean_environment: None) -> Settings:
    return Settings(cors_origins=(FRIEND,), api_token=SecretStr("correct-horse-battery"))


async def test_it_is_off_unless_set(
    clean_environment: None, store: PolicyStore, watcher: PolicyWatcher
) -> None:
    async with open_bench(Settings(), store, watcher) as bench:
        response = await bench.client.get("/health/live", headers={"Origin": FRIEND})
        assert not [name for name in response.headers if name.startswith("access-control-")]
        preflight = await bench.client.options("/act", headers={"Origin": FRIEND, **PREFLIGHT})
        is_problem(preflight, 405)


async def test_a_page_that_is_named_may_read_answers_and_their_headers(bench: Bench) -> None:
    response = await bench.client.get("/health/live", headers={"Origin": FRIEND})
    assert response.headers["Access-Control-Allow-Origin"] == FRIEND
    assert "Access-Control-Allow-Credentials" not in response.headers
    exposed = set(response.headers["Access-Control-Expose-Headers"].split(", "))
    assert {"ETag", "Policy-Version", "Retry-After", "Location"} <= exposed
    refused = await bench.client.get("/policies", headers={"Origin": FRIEND})
    is_problem(refused, 401, "unauthorized")
    assert refused.headers["Access-Control-Allow-Origin"] == FRIEND


async def test_another_page_may_not(bench: Bench) -> None:
    response = await bench.client.get("/health/live", headers={"Origin": "https://other.example"})
    assert "Access-Control-Allow-Origin" not in response.headers
    assert "Origin" in response.headers["Vary"]


async def test_a_preflight_needs_no_token(bench: Bench) -> None:
    response = await bench.client.options("/act", headers={"Origin": FRIEND, **PREFLIGHT})
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == FRIEND
    assert "authorization" in response.headers["Access-Control-Allow-Headers"].lower()
    other = {"Origin": "https://other.example", **PREFLIGHT}
    response = await bench.client.options("/act", headers=other)
    assert response.status_code == 400
    assert "Access-Control-Allow-Origin" not in response.headers


async def _accepting(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "car.example"),
        ("https://car.example", "car.example"),
        ("http://Car.example:8000", "car.example:8000"),
        (FRIEND, "car.example"),
    ],
)
async def test_sockets_of_programs_the_own_page_and_named_ones(
    origin: str | None, host: str
) -> None:
    headers = {"host": host} | ({} if origin is None else {"origin": origin})
    said = await knock(WebSocketOriginMiddleware(_accepting, (FRIEND,)), **headers)
    assert [each["type"] for each in said] == ["websocket.accept"]


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", "car.example"),
        ("https://car.example.evil.example", "car.example"),
        ("https://evil.example/car.example", "car.example"),
        ("https://car.example:8000", "car.example"),
        ("null", "car.example"),
        ("", ""),
        ("http://[", "car.example"),
        ("https://", "car.example"),
    ],
)
async def test_sockets_of_other_pages_are_refused(origin: str, host: str) -> None:
    said = await knock(WebSocketOriginMiddleware(_accepting, (FRIEND,)), origin=origin, host=host)
    assert [each["type"] for each in said] == ["websocket.accept", "websocket.close"]
    assert said[1]["code"] == FOREIGN_PAGE
    assert "CARRACING_CORS_ORIGINS" in said[1]["reason"]


async def test_every_page_may_where_all_are_named() -> None:
    said = await knock(
        WebSocketOriginMiddleware(_accepting, ("*",)), origin="https://a.example", host="b"
    )
    assert [each["type"] for each in said] == ["websocket.accept"]
