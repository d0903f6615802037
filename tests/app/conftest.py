"""The API over a real store, with a client that needs neither Ray nor a network."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest
import torch
from fastapi import FastAPI
from numpy.typing import NDArray
from starlette.types import ASGIApp, Message

from app.api.application import build_api
from app.local.environment import NoHAProxyError, find_haproxy
from app.metrics import Metric
from app.policies.watcher import PolicyWatcher
from app.rendering.film_order import FilmOrder
from app.rendering.renderer import CurveOrder
from app.settings import Settings
from tests.conftest import build_policy
from tests.support.needs import lacks
from tests.support.waiting import PATIENCE_S
from training.policy.acting import Policy
from training.policy.published import PublishedPolicy
from training.store.policies import PolicyStore

T = TypeVar("T")

INTERVAL_S = 0.1
"""How often the tests' watchers look."""

SetProxy = Callable[[str], None]

JSON = {"Content-Type": "application/json"}
NPY = {"Content-Type": "application/x-npy"}


_THREADS = torch.get_num_threads()


@pytest.fixture(autouse=True)
def same_number_of_threads() -> None:
    """Every thread of this process decides with the same number of PyTorch's threads.

    With another number a sum may differ in its last bit. A learner that ran in this process has set
    another one for this thread.
    """
    torch.set_num_threads(_THREADS)


def npy(array: NDArray[Any], version: tuple[int, int] = (1, 0)) -> bytes:
    """An array as an npy file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=version)
    return buffer.getvalue()


def pictures(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    """Noise, uint8."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@dataclass
class FakeRenderer:
    """Takes orders down instead of filling them."""

    films: list[FilmOrder] = field(default_factory=list)
    given: list[PublishedPolicy | None] = field(default_factory=list)
    curves: list[CurveOrder] = field(default_factory=list)
    error: Exception | None = None
    gate: asyncio.Event | None = None

    async def film(self, order: FilmOrder, files: PublishedPolicy | None = None) -> bytes:
        self.films.append(order)
        self.given.append(files)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return f"film {order.seed}".encode()

    async def curve(self, order: CurveOrder) -> bytes:
        self.curves.append(order)
        if self.error is not None:
            raise self.error
        return f"curve {order.run}".encode()


@dataclass
class FakeSink:
    """Takes measurements down."""

    records: list[tuple[Metric, float, dict[str, str]]] = field(default_factory=list)

    def record(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        self.records.append((metric, value, dict(labels)))

    def of(self, metric: Metric) -> list[tuple[float, dict[str, str]]]:
        """Values and labels of one metric, in order."""
        return [(value, labels) for each, value, labels in self.records if each is metric]


@dataclass
class Bench:
    """An API on the bench: what it is made of, and a client."""

    settings: Settings
    store: PolicyStore
    watcher: PolicyWatcher
    renderer: FakeRenderer
    api: FastAPI
    client: httpx.AsyncClient

    async def ready(self) -> None:
        """Start the watcher, and wait for a policy."""
        self.watcher.start()
        assert await asyncio.to_thread(self.watcher.wait_ready, PATIENCE_S)


async def eventually(look: Callable[[], Awaitable[T | None]]) -> T:
    """What ``look`` finds, once it finds something true."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := await look()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found


async def get_until(bench: Bench, path: str, version: str) -> httpx.Response:
    """The first answer of a path that depends on this policy."""

    async def look() -> httpx.Response | None:
        response = await bench.client.get(path)
        return response if response.headers.get("Policy-Version") == version else None

    return await eventually(look)


def is_problem(response: httpx.Response, status: int, kind: str | None = None) -> dict[str, Any]:
    """Assert that an answer is a problem of this status and kind; its body."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["type"] == (f"urn:carracing:{kind}" if kind else "about:blank")
    assert body["title"]
    assert body["detail"]
    assert body["instance"] == response.request.url.path[:128]
    assert (status == 503) == ("Retry-After" in response.headers)
    return body


async def knock(app: ASGIApp, path: str = "/drive", **headers: str) -> list[Message]:
    """What an application sends to a WebSocket that connects, and then leaves."""
    heard: list[Message] = [{"type": "websocket.disconnect"}, {"type": "websocket.connect"}]
    said: list[Message] = []
    scope = {
        "type": "websocket",
        "path": path,
        "root_path": "",
        "query_string": b"",
        "subprotocols": [],
        "headers": [
            (name.replace("_", "-").lower().encode(), value.encode())
            for name, value in headers.items()
        ],
    }

    async def receive() -> Message:
        return heard.pop()

    async def send(message: Message) -> None:
        said.append(message)

    await app(scope, receive, send)
    return said


@pytest.fixture(scope="session")
def haproxy_binary() -> str:
    """Where HAProxy is."""
    try:
        return find_haproxy()
    except NoHAProxyError as error:
        lacks(str(error))


@pytest.fixture
def folder() -> Iterator[Path]:
    """One with a path that is short enough for a socket's."""
    with TemporaryDirectory(prefix="carracing-") as name:
        yield Path(name)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the surroundings takes part."""
    import os

    for name in list(os.environ):
        if name.startswith(("CARRACING_", "ANYSCALE_")):
            monkeypatch.delenv(name)


@pytest.fixture
def settings(clean_environment: None) -> Settings:
    return Settings()


@pytest.fixture
def watcher(store: PolicyStore) -> Iterator[PolicyWatcher]:
    watcher = PolicyWatcher(store, INTERVAL_S, retry_s=0.5)
    yield watcher
    watcher.stop()


@pytest.fixture
def fallback() -> Policy:
    """A policy that no store has."""
    return build_policy(run="run-0")


@pytest.fixture
def falling_back(store: PolicyStore, fallback: Policy) -> Iterator[PolicyWatcher]:
    """A watcher that has a fallback."""
    watcher = PolicyWatcher(store, INTERVAL_S, retry_s=0.5, fallback=fallback)
    yield watcher
    watcher.stop()


@asynccontextmanager
async def open_bench(
    settings: Settings, store: PolicyStore, watcher: PolicyWatcher
) -> AsyncIterator[Bench]:
    renderer = FakeRenderer()
    api = build_api(settings, watcher, renderer, store)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api), base_url="http://car.test"
    ) as client:
        yield Bench(settings, store, watcher, renderer, api, client)


@pytest.fixture
async def bench(
    settings: Settings, store: PolicyStore, watcher: PolicyWatcher
) -> AsyncIterator[Bench]:
    """One that has nothing to serve until something is published."""
    async with open_bench(settings, store, watcher) as bench:
        yield bench


@pytest.fixture
async def bundled_bench(
    settings: Settings, store: PolicyStore, falling_back: PolicyWatcher
) -> AsyncIterator[Bench]:
    """One whose watcher has a fallback."""
    async with open_bench(settings, store, falling_back) as bench:
        yield bench


@pytest.fixture
def silent_port() -> Iterator[socket.socket]:
    """A port that is bound and does not listen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


def address_of(bound: socket.socket) -> str:
    return f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def set_proxy(monkeypatch: pytest.MonkeyPatch) -> SetProxy:
    """Sets the proxy of all schemes in the environment."""

    def set_proxy(url: str) -> None:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)

    return set_proxy


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that clients wait, without their doing so, and without what spreads them."""
    waits: list[float] = []
    monkeypatch.setattr("app.client.retries.uniform", lambda least, _: least)
    monkeypatch.setattr("app.client.service.sleep", waits.append)
    return waits
