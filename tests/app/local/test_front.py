from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from app.limits import HEALTH, PROBES, REPLICA_REQUESTS
from app.local.front import Front, middlewares
from app.local.proxy import SWITCH
from app.metrics import TURNED_AWAY, Meters
from app.middleware.sockets import TRY_AGAIN
from tests.app.conftest import FakeSink, eventually, is_problem, knock

pytestmark = pytest.mark.anyio


class Proxy:
    """Answers what it is told to, once its gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.scopes: list[Scope] = []
        self.response: Response | None = Response("{}", media_type="application/json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        await self.gate.wait()
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
        elif self.response is not None:
            await self.response(scope, receive, send)

    def header(self, name: str) -> str | None:
        """Of the latest request."""
        found = [value for key, value in self.scopes[-1]["headers"] if key == name.encode()]
        assert len(found) < 2
        return found[0].decode("latin-1") if found else None


@pytest.fixture
def proxy() -> Proxy:
    proxy = Proxy()
    proxy.gate.set()
    return proxy


@pytest.fixture
def sink() -> FakeSink:
    return FakeSink()


@pytest.fixture
def front(proxy: Proxy, sink: FakeSink) -> Front:
    return Front(proxy, Meters(sink), queries=2, others=1)


@pytest.fixture
def client(front: Front) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(front), base_url="http://car.test")


async def arrived(proxy: Proxy, number: int) -> None:
    """Wait for so many requests at Serve."""

    async def look() -> bool:
        return len(proxy.scopes) == number

    await eventually(look)


async def test_what_there_is_no_room_for_is_turned_away(
    client: httpx.AsyncClient, proxy: Proxy, front: Front, sink: FakeSink
) -> None:
    proxy.gate.clear()
    inside = [asyncio.create_task(client.get("/act")) for _ in range(2)]
    await arrived(proxy, 2)
    refused = await client.get("/act")
    is_problem(refused, 503, "busy")
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.headers["X-Request-ID"]
    assert refused.headers["X-Content-Type-Options"] == "nosniff"
    probe = asyncio.create_task(client.get(f"{HEALTH}live"))
    film = asyncio.create_task(client.get("/gif"))
    await arrived(proxy, 4)
    accepted, closed = await knock(front)
    assert accepted["type"] == "websocket.accept"
    assert closed["code"] == TRY_AGAIN
    assert len(sink.of(TURNED_AWAY)) == 2
    proxy.gate.set()
    assert [each.status_code for each in await asyncio.gather(*inside, probe, film)] == [200] * 4
    assert (await client.get("/act")).status_code == 200


async def test_queries_and_the_rest_do_not_take_each_others_room(
    client: httpx.AsyncClient, proxy: Proxy
) -> None:
    proxy.gate.clear()
    inside = [asyncio.create_task(client.get(path)) for path in ("/act", "/act", "/gif")]
    await arrived(proxy, 3)
    assert "2 such" in is_problem(await client.get("/act"), 503, "busy")["detail"]
    assert "1 such" in is_problem(await client.get("/policies"), 503, "busy")["detail"]
    proxy.gate.set()
    assert [each.status_code for each in await asyncio.gather(*inside)] == [200] * 3


async def test_who_leaves_makes_room(client: httpx.AsyncClient, proxy: Proxy) -> None:
    proxy.gate.clear()
    leaving = [asyncio.create_task(client.get("/gif"))]
    await arrived(proxy, 1)
    for task in leaving:
        task.cancel()
    await asyncio.wait(leaving)
    proxy.gate.set()
    assert (await client.get("/gif")).status_code == 200


@pytest.mark.parametrize("given", ["a", "job-7.step:3_x", "A" * 128])
async def test_a_plain_request_id_is_kept(
    client: httpx.AsyncClient, proxy: Proxy, given: str
) -> None:
    await client.get("/act", headers={"X-Request-ID": given})
    assert proxy.header("x-request-id") == given


async def test_the_only_id_is_looked_at_and_passed_on(
    client: httpx.AsyncClient, proxy: Proxy
) -> None:
    twice = [(b"X-Request-ID", b"a"), (b"X-Request-ID", b"\xff")]
    await client.get("/act", headers=twice)
    assert len(proxy.header("x-request-id") or "") == 36
    await client.get("/act", headers=[(b"X-Request-ID", b"a"), (b"X_Request_ID", b"\xff")])
    assert (proxy.header("x-request-id"), proxy.header("x_request_id")) == ("a", None)


@pytest.mark.parametrize("given", [None, b"", b"A" * 129, b"a b", b"<b>", b"caf\xe9", b"\xff"])
async def test_any_other_is_replaced(
    client: httpx.AsyncClient, proxy: Proxy, given: bytes | None
) -> None:
    headers = {} if given is None else {b"X-Request-ID": given}
    ids = set()
    for _ in range(2):
        await client.get("/act", headers=headers)
        ids.add(proxy.header("x-request-id"))
    assert len(ids) == 2
    assert all(each is not None and len(each) == 36 for each in ids)


async def test_callers_do_not_steer_serve(client: httpx.AsyncClient, proxy: Proxy) -> None:
    names = [
        "x-request-disconnect-disabled",
        "x-request-timeout-seconds",
        "x-session-id",
        "x_session_id",
        "serve_multiplexed_model_id",
        "serve-multiplexed_model-id",
    ]
    steering = [(name.encode(), b"\xff") for name in names]
    for path in ("/gif", f"{HEALTH}live", "/-/x"):
        await client.get(path, headers=[*steering, (b"accept", b"x/y")])
        assert [proxy.header(name) for name in names] == [None] * len(names)
    assert proxy.header("accept") == "x/y"


async def test_a_query_bounds_its_own_time_and_nobody_watches_its_caller(
    client: httpx.AsyncClient, proxy: Proxy
) -> None:
    await client.post("/act", headers={"x-request-timeout-seconds": "5"})
    assert proxy.header("x-request-timeout-seconds") == "0"
    assert proxy.header("x-request-disconnect-disabled") == "?1"


async def test_a_drive_is_not_cut_by_serves_time_limit(front: Front, proxy: Proxy) -> None:
    await knock(front, x_request_timeout_seconds="5")
    assert proxy.header("x-request-timeout-seconds") == "0"


async def test_a_websocket_without_a_replica_is_closed(front: Front, proxy: Proxy) -> None:
    closed = (await knock(front))[-1]
    assert (closed["type"], closed["code"]) == ("websocket.close", TRY_AGAIN)


def test_serve_is_told_how_many_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.setenv("CARRACING_ACT_PENDING", "24")
    monkeypatch.setattr("app.local.front.RaySink", lambda _: FakeSink())
    monkeypatch.setattr("app.local.front.HTTP_PROTOCOLS", {"auto": "", "h11": ""})
    (middleware,) = middlewares()
    room = {name: middleware.kwargs[name] for name in ("queries", "others")}
    assert room == {"queries": 24, "others": REPLICA_REQUESTS - PROBES - 24}


async def test_behind_haproxy_serves_own_proxy_holds_nothing(
    monkeypatch: pytest.MonkeyPatch, proxy: Proxy
) -> None:
    monkeypatch.setenv(SWITCH, "1")
    ((cls, _, kwargs),) = middlewares()
    front = cls(proxy, **kwargs)
    transport = httpx.ASGITransport(front)
    async with httpx.AsyncClient(transport=transport, base_url="http://car.test") as client:
        for path in ("/act", f"{HEALTH}live"):
            answer = await client.get(path, headers={"X-Request-ID": "a"})
            is_problem(answer, 503)
            assert answer.headers["X-Request-ID"] == "a"
        accepted, closed = await knock(front)
        assert (accepted["type"], closed["code"]) == ("websocket.accept", TRY_AGAIN)
        assert proxy.scopes == []
        # HAProxy's own check.
        assert (await client.get("/-/healthz")).status_code == 200


@pytest.mark.parametrize("status", [404, 429, 503])
async def test_serves_own_refusals_are_problems(
    client: httpx.AsyncClient, proxy: Proxy, status: int
) -> None:
    proxy.response = PlainTextResponse("dropped", status, {"Retry-After": "7"})
    response = await client.get("/act")
    assert response.headers["Content-Type"] == "application/problem+json"
    told = 503 if status == 404 else status
    assert (response.status_code, response.json()["type"]) == (told, "urn:carracing:busy")
    assert response.headers["Retry-After"] == "7"
    proxy.response = PlainTextResponse("dropped", status)
    assert (await client.get("/act")).headers["Retry-After"] == "2"


@pytest.mark.parametrize("status", [408, 500])
async def test_serves_own_errors_are_problems(
    client: httpx.AsyncClient, proxy: Proxy, status: int
) -> None:
    proxy.response = PlainTextResponse("of Serve", status)
    is_problem(await client.get("/act"), status)


async def test_a_replica_that_died_is_a_problem(client: httpx.AsyncClient, proxy: Proxy) -> None:
    proxy.response = None
    is_problem(await client.get("/act"), 503)


async def test_the_services_own_answers_pass(client: httpx.AsyncClient, proxy: Proxy) -> None:
    problem = Response(b"{}", 503, media_type="application/problem+json")
    for answer in (PlainTextResponse("plain"), problem, Response(status_code=404)):
        proxy.response = answer
        response = await client.get("/act")
        assert (response.status_code, response.content) == (answer.status_code, answer.body)


async def test_what_serve_tells_a_caller_that_has_left_passes(
    client: httpx.AsyncClient, proxy: Proxy
) -> None:
    proxy.response = PlainTextResponse("disconnected", 499)
    assert (await client.get("/act")).status_code == 499


async def test_serves_own_paths_are_left_alone(client: httpx.AsyncClient, proxy: Proxy) -> None:
    proxy.response = PlainTextResponse("draining", 503)
    response = await client.get("/-/healthz")
    assert (response.status_code, response.text) == (503, "draining")
