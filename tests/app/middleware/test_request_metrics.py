from __future__ import annotations

import asyncio

import httpx
import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from app.metrics import REQUEST_SECONDS, REQUESTS, Meters
from app.middleware.request_metrics import UNKNOWN, RequestMetricsMiddleware
from tests.app.conftest import FakeSink, knock

pytestmark = pytest.mark.anyio


async def _anything(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def sink() -> FakeSink:
    return FakeSink()


@pytest.fixture
def hanging() -> asyncio.Event:
    """Set once ``/hangs`` has been asked for."""
    return asyncio.Event()


@pytest.fixture
def app(sink: FakeSink, hanging: asyncio.Event) -> RequestMetricsMiddleware:
    routes = APIRouter()

    @routes.get("/film/{name}/{seed}.gif")
    async def film(name: str, seed: int) -> int:
        return seed

    @routes.get("/hangs")
    async def hangs() -> None:
        hanging.set()
        await asyncio.Event().wait()

    @routes.websocket("/drive")
    async def drive(socket: WebSocket) -> None:
        await socket.accept()
        if (await socket.receive())["type"] != "websocket.disconnect":
            await socket.close(4400)

    @routes.websocket("/full")
    async def full(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close(1013)

    api = FastAPI(routes=[Mount("/page", _anything)])
    api.include_router(routes)
    return RequestMetricsMiddleware(api, Meters(sink))


@pytest.fixture
def client(app: RequestMetricsMiddleware) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://car.test")


def counted(sink: FakeSink) -> list[tuple[str, str, str]]:
    return [(labels["method"], labels["path"], labels["status"]) for _, labels in sink.of(REQUESTS)]


async def test_the_path_is_its_routes(client: httpx.AsyncClient, sink: FakeSink) -> None:
    await client.get("/film/a/1.gif")
    await client.get("/film/b/2.gif?x=y")
    await client.get("/film/b/two.gif")
    await client.post("/film/b/2.gif")
    film = "/film/{name}/{seed}.gif"
    assert counted(sink) == [
        ("GET", film, "200"),
        ("GET", film, "200"),
        ("GET", film, "422"),
        ("POST", film, "405"),
    ]
    for seconds, labels in sink.of(REQUEST_SECONDS):
        assert 0 < seconds < 60
        assert labels["path"] == film
    assert len(sink.of(REQUEST_SECONDS)) == 4


async def test_callers_cannot_invent_labels(client: httpx.AsyncClient, sink: FakeSink) -> None:
    for number in range(20):
        await client.get(f"/nowhere/{number}")
        await client.get(f"/page/{number}.js")
        await client.request(f"M{number}", "/docs")
    assert set(counted(sink)) == {
        ("GET", UNKNOWN, "404"),
        ("GET", "/page/…", "200"),
        ("other", "/docs", "405"),
    }


async def test_websockets_are_counted_by_their_close_code(
    app: RequestMetricsMiddleware, sink: FakeSink
) -> None:
    await knock(app, "/full")
    await knock(app, "/drive")
    await knock(app, "/nowhere")
    assert counted(sink) == [
        ("WEBSOCKET", "/full", "1013"),
        ("WEBSOCKET", "/drive", "left"),
        ("WEBSOCKET", UNKNOWN, "1000"),
    ]
    assert not sink.of(REQUEST_SECONDS)


async def test_a_caller_that_leaves_is_counted(
    client: httpx.AsyncClient, sink: FakeSink, hanging: asyncio.Event
) -> None:
    request = asyncio.create_task(client.get("/hangs"))
    await hanging.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert counted(sink) == [("GET", "/hangs", "left")]
