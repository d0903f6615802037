from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cache
from typing import Any
from urllib.parse import unquote

import pytest
from fastapi import FastAPI
from starlette.types import Message

from app.api.schemas import CurveData
from app.policies.watcher import PolicyWatcher
from app.settings import MIB, Settings
from benchmarks.attacks.documented import Answer, Documented
from benchmarks.attacks.generated import generated
from benchmarks.attacks.hostile_addresses import hostile_addresses
from benchmarks.attacks.hostile_bodies import hostile_bodies
from benchmarks.attacks.malice import Malice
from tests.app.conftest import Bench, open_bench
from tests.conftest import PublishPolicy
from training.store.policies import PolicyStore

pytestmark = pytest.mark.anyio

EXAMPLES = 15
KINDS = [
    "JSON",
    "bodies cut short or too long",
    "hosts",
    "lengths",
    "long heads",
    "methods",
    "npy headers",
    "npy numbers",
    "npy of any width and order",
    "numbers in queries",
    "paths",
    "queries",
    "ranges and tags",
    "types of bodies",
    "unknown policies",
]


@pytest.fixture
async def bench(
    settings: Settings, store: PolicyStore, watcher: PolicyWatcher, publish_policy: PublishPolicy
) -> AsyncIterator[Bench]:
    publish_policy(store)
    small = settings.model_copy(update={"max_body_bytes": MIB})
    async with open_bench(small, store, watcher) as bench:
        await bench.ready()
        yield bench


@cache
def malices(version: str, max_body: int) -> list[Malice]:
    return [*hostile_bodies(max_body), *hostile_addresses(version)]


async def ask(api: FastAPI, malice: Malice) -> Answer:
    """Ask as a server would that takes everything."""
    path, _, query = malice.target.partition("?")
    sent: list[Message] = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": malice.method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [
            (name.lower().encode(), value.encode("latin-1")) for name, value in malice.headers
        ],
        "client": ("127.0.0.1", 1),
        "server": ("car.test", 80),
        "state": {},
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": malice.body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await api(scope, receive, send)
    start, *parts = sent
    headers = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], headers, b"".join(part.get("body", b"") for part in parts))


@pytest.mark.parametrize("kind", KINDS)
async def test_malice_is_answered_as_documented(bench: Bench, kind: str) -> None:
    version = (await bench.client.get("/policy")).json()["version"]
    documented = Documented(bench.api.openapi())
    every = malices(version, bench.settings.max_body_bytes)
    assert {malice.kind for malice in every} == set(KINDS)
    faults = []
    for malice in (malice for malice in every if malice.kind == kind):
        answer = await ask(bench.api, malice)
        fault = documented.fault(malice.method, unquote(malice.target.partition("?")[0]), answer)
        if fault or answer.status not in malice.statuses:
            faults.append((answer.status, fault, malice.method, malice.target[:80], malice.headers))
        assert len(answer.body) < 64 * 1024
    assert faults == []


async def test_what_schemathesis_makes_is_answered_as_documented(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty: dict[str, Any] = {name: [] for name in CurveData.model_fields}
    data = CurveData.model_validate(empty | {"trial": "trial-1", "finetune_at": None})

    async def curve(*_: object) -> bytes:
        return data.model_dump_json().encode()

    monkeypatch.setattr(bench.renderer, "curve", curve)
    documented = Documented(bench.api.openapi())
    faults, statuses = [], set()
    for made in generated(bench.api.openapi(), "http://car.test", EXAMPLES, None):
        response = await bench.client.send(made.request)
        answer = Answer(response.status_code, dict(response.headers), response.content)
        statuses.add(response.status_code)
        path = made.request.url.path
        if fault := documented.fault(made.request.method, path, answer) or made.fault(response):
            faults.append((fault, response.status_code, str(made.request.url)))
    assert faults == []
    assert {200, 307, 400, 404, 422} <= statuses
