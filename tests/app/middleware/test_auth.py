from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from app.driving.protocol import Close
from app.middleware.auth import UNAUTHORIZED, TokenMiddleware
from app.middleware.origins import FOREIGN_PAGE
from app.middleware.websocket_cookie import WebSocketCookie
from app.problems import PROBLEM_JSON
from app.settings import Settings
from tests.app.conftest import Bench, is_problem, knock, open_bench
from tests.conftest import PublishPolicy
from training.store.policies import PolicyStore

pytestmark = pytest.mark.anyio

TOKEN = "correct-horse-battery"


@pytest.fixture
def settings(clean_environment: None) -> Settings:
    return Settings(api_token=SecretStr(TOKEN))


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "shown",
    [f"Bearer {TOKEN}", f"bearer  {TOKEN} ", basic("anyone", TOKEN), basic("", TOKEN)],
)
async def test_either_scheme_shows_the_token(
    bench: Bench, publish_policy: PublishPolicy, shown: str
) -> None:
    publish_policy(bench.store)
    await bench.ready()
    response = await bench.client.get("/policy", headers={"Authorization": shown})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "shown",
    [
        None,
        "Bearer ",
        f"Bearer {TOKEN}x",
        "Bearer correct-horse-batterÿ",
        TOKEN,
        f"Digest {TOKEN}",
        basic(TOKEN, "wrong"),
        basic("anyone", TOKEN.upper()),
        "Basic not-base64",
    ],
)
async def test_anything_else_is_refused(bench: Bench, shown: str | None) -> None:
    headers = {} if shown is None else {b"Authorization": shown.encode("latin-1")}
    response = await bench.client.get("/policies", headers=headers)
    is_problem(response, 401, "unauthorized")
    assert response.headers.get_list("WWW-Authenticate") == [
        'Bearer realm="carracing"',
        'Basic realm="carracing", charset="UTF-8"',
    ]
    assert TOKEN not in response.text


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/gif", "/nowhere", "/health"])
async def test_everything_but_health_is_behind_it(bench: Bench, path: str) -> None:
    is_problem(await bench.client.get(path), 401, "unauthorized")


async def test_probes_come_without_it(bench: Bench) -> None:
    assert (await bench.client.get("/health/live")).status_code == 200
    is_problem(await bench.client.get("/health/ready"), 503, "no-policy")


async def test_probes_below_a_prefix_come_without_it() -> None:
    guarded = TokenMiddleware(PlainTextResponse("alive"), SecretStr(TOKEN))
    outer = Starlette(routes=[Mount("/car", guarded)])
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(outer), base_url="http://car.test"
    ) as client:
        assert (await client.get("/car/health/live")).text == "alive"
        assert (await client.get("/car/policy")).status_code == 401


async def test_without_a_setting_nothing_is_asked(
    clean_environment: None, store: PolicyStore, watcher: Any
) -> None:
    async with open_bench(Settings(), store, watcher) as bench:
        assert (await bench.client.get("/policies")).status_code == 200
        document = (await bench.client.get("/openapi.json")).json()
    assert "security" not in document
    assert "401" not in document["paths"]["/policies"]["get"]["responses"]


async def test_the_document_says_how(bench: Bench) -> None:
    shown = {"Authorization": f"Bearer {TOKEN}"}
    document = (await bench.client.get("/openapi.json", headers=shown)).json()
    schemes = document["components"]["securitySchemes"]
    assert {scheme["scheme"] for scheme in schemes.values()} == {"bearer", "basic"}
    assert [list(each) for each in document["security"]] == [[name] for name in schemes]
    act = document["paths"]["/act"]["post"]
    assert "security" not in act
    assert list(act["responses"]["401"]["content"]) == [PROBLEM_JSON]
    live = document["paths"]["/health/live"]["get"]
    assert live["security"] == []
    assert "401" not in live["responses"]


async def _accepting(scope: Scope, receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})


async def test_a_websocket_without_it_learns_so_from_a_close_code() -> None:
    guarded = TokenMiddleware(_accepting, SecretStr(TOKEN))
    accepted, closed = await knock(guarded)
    assert accepted["type"] == "websocket.accept"
    assert (closed["type"], closed["code"]) == ("websocket.close", UNAUTHORIZED)
    assert "Bearer" in closed["reason"]
    assert [each["type"] for each in await knock(guarded, authorization=f"Bearer {TOKEN}")] == [
        "websocket.accept"
    ]


@pytest.mark.parametrize("status", [200, 304])
async def test_a_browser_that_opens_the_page_with_the_password_gets_a_pass(
    bench: Bench, status: int
) -> None:
    headers = {"Authorization": basic("", TOKEN)}
    etag = (await bench.client.get("/", headers=headers)).headers["ETag"]
    if status == 304:
        headers["If-None-Match"] = etag
    response = await bench.client.get("/", headers=headers)
    assert response.status_code == status
    (cookie,) = response.headers.get_list("Set-Cookie")
    assert WebSocketCookie(TOKEN.encode()).is_valid(Headers({"Cookie": cookie.partition(";")[0]}))
    assert {"HttpOnly", "SameSite=Strict"} < set(cookie.split("; "))
    assert TOKEN not in cookie


@pytest.mark.parametrize(
    ("url", "forwarded", "secure"),
    [
        ("http://car.test/", None, False),
        ("http://car.test/", "http", False),
        ("http://car.test/", "https", True),
        ("https://car.test/", None, True),
    ],
)
async def test_with_tls_it_is_never_sent_without(
    bench: Bench, url: str, forwarded: str | None, secure: bool
) -> None:
    headers = {"Authorization": basic("", TOKEN)}
    if forwarded is not None:
        headers["X-Forwarded-Proto"] = forwarded
    cookie = (await bench.client.get(url, headers=headers)).headers["Set-Cookie"]
    assert ("Secure" in cookie.split("; ")) is secure


@pytest.mark.parametrize(
    ("method", "path", "shown"),
    [
        ("GET", "/", None),
        ("GET", "/", basic("", "wrong")),
        ("GET", "/", f"Bearer {TOKEN}"),
        ("POST", "/", basic("", TOKEN)),
        ("GET", "/page/page.js", basic("", TOKEN)),
        ("GET", "/policies", basic("", TOKEN)),
        ("GET", "/health/live", basic("", TOKEN)),
    ],
)
async def test_nobody_else_gets_one(
    bench: Bench, method: str, path: str, shown: str | None
) -> None:
    headers = {} if shown is None else {"Authorization": shown}
    response = await bench.client.request(method, path, headers=headers)
    assert "Set-Cookie" not in response.headers


async def test_below_a_prefix_the_page_is_the_page() -> None:
    guarded = TokenMiddleware(PlainTextResponse("the page"), SecretStr(TOKEN))
    outer = Starlette(routes=[Mount("/car", guarded)])
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(outer), base_url="http://car.test"
    ) as client:
        headers = {"Authorization": basic("", TOKEN)}
        assert "Set-Cookie" in (await client.get("/car/", headers=headers)).headers
        assert "Set-Cookie" not in (await client.get("/car/car/", headers=headers)).headers


async def test_without_a_token_there_are_no_passes(
    clean_environment: None, store: PolicyStore, watcher: Any
) -> None:
    async with open_bench(Settings(), store, watcher) as bench:
        response = await bench.client.get("/", headers={"Authorization": basic("", TOKEN)})
    assert response.status_code == 200
    assert "Set-Cookie" not in response.headers


async def _close_code(api: ASGIApp, cookie: str, **headers: str) -> int:
    """Of a drive that names no mode."""
    said = await knock(api, host="car.test", cookie=cookie, **headers)
    code: int = said[-1]["code"]
    return code


async def test_a_pass_counts_for_websockets_alone(bench: Bench) -> None:
    passes = WebSocketCookie(TOKEN.encode())
    cookie = passes.cookie(secure=False).partition(";")[0]
    assert await _close_code(bench.api, cookie) == Close.PROTOCOL_ERROR
    assert await _close_code(bench.api, f"{cookie}0") == UNAUTHORIZED
    for path in ("/", "/policies", "/drive"):
        response = await bench.client.get(path, headers={"Cookie": cookie})
        is_problem(response, 401, "unauthorized")


async def test_a_pass_does_not_let_other_pages_in(bench: Bench) -> None:
    cookie = WebSocketCookie(TOKEN.encode()).cookie(secure=False).partition(";")[0]
    code = await _close_code(bench.api, cookie, origin="https://evil.example")
    assert code == FOREIGN_PAGE
    code = await _close_code(bench.api, cookie, origin="https://car.test")
    assert code == Close.PROTOCOL_ERROR


async def test_the_token_is_not_shown_by_the_settings(settings: Settings) -> None:
    assert TOKEN not in repr(settings)
    assert TOKEN not in str(settings.model_dump())


async def test_the_lifespan_passes(bench: Bench, publish_policy: PublishPolicy) -> None:
    publish_policy(bench.store)
    async with bench.api.router.lifespan_context(bench.api):
        response: httpx.Response = await bench.client.get("/health/ready")
    assert response.status_code == 200
