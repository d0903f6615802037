"""Storage that refuses connections, or takes them and never answers, and comes back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from uuid import uuid4

import pytest

from app.policies.watcher import PolicyWatcher
from app.settings import Settings
from benchmarks.support.door import Door
from tests.app.conftest import INTERVAL_S, NPY, Bench, is_problem, npy, open_bench, pictures
from tests.conftest import PublishPolicy
from training.store.filesystems import buckets
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore

pytestmark = pytest.mark.anyio

BODY = npy(pictures(84, 84, 4))
AWAY: dict[str, Callable[[Door], None]] = {"refusing": Door.shut, "hanging": Door.hang}


@pytest.fixture
def direct(s3_bucket: str) -> PolicyStore:
    """A store in a bucket, for who publishes."""
    return PolicyStore.open(f"{s3_bucket}/{uuid4().hex}")


@pytest.fixture
def door(s3_bucket: str) -> Iterator[Door]:
    """The door before it, for the service."""
    with Door(int(os.environ["AWS_ENDPOINT_URL"].rpartition(":")[2])) as door:
        yield door


@pytest.fixture
async def behind(
    direct: PolicyStore, door: Door, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    """An API that has a policy, and reads storage through the door, with little patience."""
    monkeypatch.setattr(buckets, "REQUEST_S", 1.0)
    monkeypatch.setattr(buckets, "ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{door.port}")
    store = PolicyStore.open(direct.storage.root)
    watcher = PolicyWatcher(store, INTERVAL_S, retry_s=0.5)
    async with open_bench(settings, store, watcher) as bench:
        yield bench
    door.open()
    watcher.stop(30)


async def acts(bench: Bench) -> str:
    response = await bench.client.post("/act", content=BODY, headers=NPY)
    assert response.status_code == 200, response.text
    return str(response.json()["policy"])


async def serves(bench: Bench, ref: PolicyRef) -> None:
    """Act until that policy decides; no query may fail meanwhile."""
    async with asyncio.timeout(60):
        while True:
            if await acts(bench) == ref.version:
                return
            await asyncio.sleep(0.05)


async def is_away(bench: Bench) -> None:
    """Act until the watcher says that storage is away."""
    async with asyncio.timeout(60):
        while "storage is away" not in str(bench.watcher.last_error):
            await acts(bench)
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("leave", AWAY.values(), ids=AWAY)
async def test_the_service_goes_on_and_has_the_newest_policy_soon_after(
    behind: Bench,
    direct: PolicyStore,
    door: Door,
    publish_policy: PublishPolicy,
    leave: Callable[[Door], None],
) -> None:
    old = publish_policy(direct, iteration=1)
    await behind.ready()
    assert behind.watcher.loaded is not None
    files = behind.watcher.loaded.files
    assert files == direct.fetch(old)
    leave(door)
    await is_away(behind)
    for path in ("/health/live", "/health/ready", "/policy"):
        assert (await behind.client.get(path)).status_code == 200
    # A film of the served policy is ordered with its files, as they were read.
    assert (await behind.client.get(f"/gif/{old.version}/1.gif")).status_code == 200
    assert behind.renderer.given == [files]
    # What needs storage is refused, and queries are answered all the while.
    needy = [asyncio.create_task(behind.client.get("/policies")) for _ in range(20)]
    needy += [asyncio.create_task(behind.client.get("/gif/absent/1.gif")) for _ in range(10)]
    async with asyncio.timeout(60):
        while not all(task.done() for task in needy):
            assert await acts(behind) == old.version
    for task in needy:
        is_problem(task.result(), 503, "storage-away")
    newer = publish_policy(direct, iteration=2)
    assert await acts(behind) == old.version
    door.open()
    await serves(behind, newer)
    listed = (await behind.client.get("/policies")).json()
    assert [policy["version"] for policy in listed["policies"]] == [newer.version, old.version]


async def test_what_training_publishes_in_a_bucket_is_picked_up(
    behind: Bench, direct: PolicyStore, publish_policy: PublishPolicy
) -> None:
    behind.watcher.start()
    for iteration in (1, 2):
        ref = publish_policy(direct, iteration=iteration)
        assert await asyncio.to_thread(behind.watcher.wait_ready, 60)
        await serves(behind, ref)
    assert behind.watcher.last_error is None
