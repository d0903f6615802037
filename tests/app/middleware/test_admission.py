"""Admission by number; tests/app/api/routes/test_act_limits.py has what concerns bodies."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from app.limits import HEALTH, max_other_requests
from app.middleware.admission import AdmissionMiddleware
from app.middleware.websockets import TRY_AGAIN
from tests.app.conftest import eventually, is_problem, knock

pytestmark = pytest.mark.anyio

QUERIES = 230
OTHERS = max_other_requests(QUERIES)


class Application:
    """Answers each request with its body, once its gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.running += 1
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            return
        body = await Request(scope, receive).body()
        await PlainTextResponse(body)(scope, receive, send)

    async def runs(self, number: int) -> None:
        async def look() -> bool:
            return self.running == number

        await eventually(look)


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
def admission(application: Application) -> AdmissionMiddleware:
    return AdmissionMiddleware(
        application, max_queries=QUERIES, max_body_bytes=1000, body_timeout_s=60
    )


@pytest.fixture
def client(admission: AdmissionMiddleware) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(admission), base_url="http://car.test")


async def test_each_kind_has_its_own_limit_and_probes_have_none(
    client: httpx.AsyncClient, application: Application, admission: AdmissionMiddleware
) -> None:
    queries = [asyncio.create_task(client.post("/act", content=b"x")) for _ in range(QUERIES)]
    await application.runs(QUERIES)
    refused = await client.post("/act", content=b"x")
    is_problem(refused, 503, "busy")
    assert int(refused.headers["Retry-After"]) > 0

    others = [asyncio.create_task(client.get("/gif")) for _ in range(OTHERS)]
    await application.runs(QUERIES + OTHERS)
    for method, path in (("GET", "/policies"), ("GET", "/act"), ("POST", "/gif")):
        is_problem(await client.request(method, path), 503, "busy")
    accepted, closed = await knock(admission)
    assert accepted["type"] == "websocket.accept"
    assert closed["code"] == TRY_AGAIN

    probes = [asyncio.create_task(client.get(f"{HEALTH}live")) for _ in range(40)]
    await application.runs(QUERIES + OTHERS + 40)
    application.gate.set()
    answers = await asyncio.gather(*queries, *others, *probes)
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.text for answer in answers[:QUERIES]} == {"x"}
    for path in ("/act", "/gif"):
        assert (await client.post(path)).status_code == 200


async def test_a_websocket_takes_a_place_of_the_others(
    client: httpx.AsyncClient, application: Application, admission: AdmissionMiddleware
) -> None:
    drives = [asyncio.create_task(knock(admission)) for _ in range(OTHERS)]
    await application.runs(OTHERS)
    is_problem(await client.get("/policy"), 503, "busy")
    application.gate.set()
    await asyncio.gather(*drives)
    assert (await client.get("/policy")).status_code == 200


async def test_below_a_prefix_a_query_is_a_query(admission: AdmissionMiddleware) -> None:
    transport = httpx.ASGITransport(admission, root_path="/car")
    async with httpx.AsyncClient(transport=transport, base_url="http://car.test/car") as client:
        response = await client.post("/act", content=bytes(1001))
    is_problem(response, 413, "body-too-large")
