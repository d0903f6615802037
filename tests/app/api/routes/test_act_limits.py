"""What ``POST /act`` refuses because of size, time or number."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import numpy as np
import pytest

from app.limits import LARGEST_BODIES
from app.policies.watcher import PolicyWatcher
from app.settings import KIB, Settings
from tests.app.conftest import NPY, Bench, is_problem, npy, open_bench, pictures
from tests.conftest import PublishPolicy
from training.store.policies import PolicyStore

pytestmark = pytest.mark.anyio

Query = asyncio.Task[httpx.Response]
BODY = npy(pictures(84, 84, 4))


class Upload:
    """A body without a length that begins, and goes on when it is told."""

    def __init__(self, beginning: bytes = b"", rest: bytes = b"") -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self._beginning = beginning
        self._rest = rest

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._beginning:
            yield self._beginning
        self.begun.set()
        await self.go_on.wait()
        yield self._rest


@asynccontextmanager
async def uploading(bench: Bench, uploads: list[Upload]) -> AsyncIterator[list[Query]]:
    """Queries whose bodies the service is waiting for."""
    queries = [
        asyncio.create_task(bench.client.post("/act", content=upload, headers=NPY))
        for upload in uploads
    ]
    await asyncio.gather(*(upload.begun.wait() for upload in uploads))
    yield queries
    for upload in uploads:
        upload.go_on.set()
    await asyncio.gather(*queries)


@pytest.fixture
async def bench(
    request: pytest.FixtureRequest,
    settings: Settings,
    store: PolicyStore,
    watcher: PolicyWatcher,
    publish_policy: PublishPolicy,
) -> AsyncIterator[Bench]:
    publish_policy(store)
    limits = getattr(request, "param", {})
    async with open_bench(settings.model_copy(update=limits), store, watcher) as bench:
        await bench.ready()
        yield bench


def limit_to(**values: float) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("bench", [values], indirect=True)


async def status_of_query(bench: Bench) -> int:
    return (await bench.client.post("/act", content=BODY, headers=NPY)).status_code


@limit_to(max_body_bytes=64 * KIB)
async def test_an_announced_giant_is_refused_unread(bench: Bench) -> None:
    upload = Upload(bytes(64 * KIB + 1))
    headers = NPY | {"Content-Length": str(64 * KIB + 1)}
    response = await bench.client.post("/act", content=upload, headers=headers)
    is_problem(response, 413, "body-too-large")
    assert not upload.begun.is_set()


async def test_a_length_of_thousands_of_digits_is_none(bench: Bench) -> None:
    headers = NPY | {"Content-Length": "0" * 5000 + str(len(BODY))}
    response = await bench.client.post("/act", content=BODY, headers=headers)
    assert response.status_code == 200


@limit_to(max_body_bytes=64 * KIB)
async def test_an_endless_body_is_given_up(bench: Bench) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield bytes(8 * KIB)

    response = await bench.client.post("/act", content=endless(), headers=NPY)
    is_problem(response, 413, "body-too-large")
    assert sent == 9


@limit_to(max_batch=2)
async def test_batches_are_bounded(bench: Bench) -> None:
    for size in (0, 3):
        content = npy(np.zeros((size, 84, 84, 4), np.uint8))
        response = await bench.client.post("/act", content=content, headers=NPY)
        assert "from 1 to 2" in is_problem(response, 422, "invalid")["detail"]


@limit_to(body_timeout_s=0.1)
async def test_a_body_that_does_not_arrive_is_given_up(bench: Bench) -> None:
    async with uploading(bench, [Upload(b"a beginning")]) as (query,):
        assert "11 bytes" in is_problem(await query, 408, "body-timeout")["detail"]
    assert await status_of_query(bench) == 200


async def test_clients_that_send_nothing_take_no_memory(bench: Bench) -> None:
    silent = [Upload(rest=BODY) for _ in range(2 * LARGEST_BODIES)]
    async with uploading(bench, silent) as queries:
        assert await status_of_query(bench) == 200
        assert not any(query.done() for query in queries)
    assert {query.result().status_code for query in queries} == {200}


@limit_to(act_pending=2)
async def test_a_silent_body_gives_its_place_to_another_query(bench: Bench) -> None:
    async with uploading(bench, [Upload(b"a beginning"), Upload(b"another")]) as queries:
        # It has to be silent for a while.
        for _ in range(600):
            if (status := await status_of_query(bench)) != 503:
                break
            await asyncio.sleep(0.1)
        assert status == 200
        assert sum(query.done() for query in queries) == 1
        assert await status_of_query(bench) == 200
    assert {query.result().status_code for query in queries} == {400, 503}


@limit_to(act_pending=1)
async def test_more_queries_than_there_is_room_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding, answered = threading.Event(), threading.Event()

    def slow_decode(*_: object) -> np.ndarray:
        decoding.set()
        assert answered.wait(60)
        return pictures(1, 84, 84, 4)

    with monkeypatch.context() as patch:
        patch.setattr("app.api.routes.act.decode", slow_decode)
        first = asyncio.create_task(status_of_query(bench))
        assert await asyncio.to_thread(decoding.wait, 60)
        response = await bench.client.post("/act", content=BODY, headers=NPY)
        is_problem(response, 503, "busy")
        answered.set()
        assert await first == 200
    assert await status_of_query(bench) == 200


@limit_to(max_body_bytes=64 * KIB)
async def test_bodies_are_bounded_together(bench: Bench) -> None:
    beginnings = [Upload(bytes(64 * KIB - 1)) for _ in range(LARGEST_BODIES)]
    async with uploading(bench, beginnings) as queries:
        response = await bench.client.post("/act", content=BODY, headers=NPY)
        is_problem(response, 503, "busy")
        assert not any(query.done() for query in queries)
    assert {query.result().status_code for query in queries} == {400}
    assert await status_of_query(bench) == 200
