"""Whatever is wrong with what was published: the policy that is served is served on."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import pytest

from app.metrics import RELOADS, Meters
from app.policies.watcher import PolicyWatcher
from tests.app.conftest import INTERVAL_S, NPY, Bench, FakeSink, npy, pictures
from tests.conftest import PublishPolicy, exists
from tests.damages import (
    CONSISTENT_DAMAGES,
    LATEST_DAMAGES,
    MANIFEST_DAMAGES,
    UNPICKLED,
    WEIGHTS_DAMAGES,
    Corrupt,
    Damages,
)
from training.policy.manifest import MANIFEST_FILE, WEIGHTS_FILE
from training.store.layout import LATEST_FILE, PolicyRef
from training.store.policies import PolicyStore

pytestmark = pytest.mark.anyio

NAMED_DAMAGES = (
    f"{LATEST_FILE} cut at 50 %",
    f"{LATEST_FILE}, a bit flipped at 50 %",
    "latest.json names a folder above",
    "latest.json is a pickle",
)
BODY = npy(pictures(84, 84, 4))


@pytest.fixture
def sink() -> FakeSink:
    return FakeSink()


@pytest.fixture
def watcher(store: PolicyStore, sink: FakeSink) -> PolicyWatcher:
    """One that is told when to look, and counts."""
    return PolicyWatcher(store, INTERVAL_S, retry_s=60, on_reload=Meters(sink).reloaded)


def each(damages: Damages) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("damage", "reason"), damages.values(), ids=damages)


async def acts(bench: Bench) -> str:
    """The version that answers."""
    response = await bench.client.post("/act", content=BODY, headers=NPY)
    assert response.status_code == 200, response.text
    return str(response.json()["policy"])


async def refused(
    bench: Bench, sink: FakeSink, name: str, reason: str, log: pytest.LogCaptureFixture
) -> None:
    """Assert that it is told why something is not used, and counted once."""
    assert bench.watcher.last_error is not None
    assert re.search(reason, bench.watcher.last_error)
    told = (await bench.client.get("/policies")).json()["broken"]
    assert re.search(reason, told[name])
    warnings = [r.getMessage() for r in log.records if r.levelno == logging.WARNING]
    assert [each for each in warnings if re.search(reason, each)]
    failed = [value for value, labels in sink.of(RELOADS) if labels == {"outcome": "failed"}]
    assert failed == [1]


# The store's own tests try all of them.
POLICY_DAMAGES = {
    name: (WEIGHTS_DAMAGES | MANIFEST_DAMAGES | CONSISTENT_DAMAGES)[name]
    for name in (
        f"{WEIGHTS_FILE} cut at 50 %",
        f"{WEIGHTS_FILE}, a bit flipped at 50 %",
        "no weights",
        "a pickle",
        f"{MANIFEST_FILE} cut at 50 %",
        f"{MANIFEST_FILE}, a bit flipped at 50 %",
        "future format",
        "path as name",
        "NaN",
        "other shapes",
        "a pickle that is vouched for",
    )
}


@each(POLICY_DAMAGES)
async def test_a_damaged_policy_is_not_served(
    bench: Bench,
    sink: FakeSink,
    publish_policy: PublishPolicy,
    damage: Callable[[Corrupt], None],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    good = publish_policy(bench.store, iteration=1)
    bench.watcher.look()
    bad = publish_policy(bench.store, iteration=2)
    damage(Corrupt(bench.store.storage, bad))
    bench.watcher.look()
    assert await acts(bench) == good.version
    await refused(bench, sink, bad.version, reason, caplog)
    assert not exists(bench.store.storage, UNPICKLED)
    # A newer one that is whole is served, and what is wrong with the other is still told.
    newer = publish_policy(bench.store, iteration=3)
    bench.watcher.look()
    assert await acts(bench) == newer.version
    assert bench.watcher.last_error is None
    assert re.search(reason, (await bench.client.get("/policies")).json()["broken"][bad.version])


@each({name: LATEST_DAMAGES[name] for name in NAMED_DAMAGES})
async def test_without_a_word_of_the_latest_the_newest_whole_policy_is_served(
    bench: Bench,
    sink: FakeSink,
    publish_policy: PublishPolicy,
    damage: Callable[[Corrupt], None],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    publish_policy(bench.store, iteration=1)
    bench.watcher.look()
    newer = publish_policy(bench.store, iteration=2)
    damage(Corrupt(bench.store.storage, newer))
    bench.watcher.look()
    assert await acts(bench) == newer.version
    named = LATEST_FILE
    if "is not valid" not in str(bench.watcher.last_error):
        # A name can be another name by one bit.
        named = str(bench.watcher.last_error).partition(":")[0]
    await refused(bench, sink, named, reason, caplog)
    assert not exists(bench.store.storage, UNPICKLED)


async def test_a_policy_that_was_deleted_is_nothing_broken(
    bench: Bench, sink: FakeSink, publish_policy: PublishPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = publish_policy(bench.store, iteration=1)
    fetch = PolicyStore.fetch
    newer: list[PolicyRef] = []

    def overtaken(store: PolicyStore, ref: PolicyRef) -> object:
        if not newer:
            newer.append(publish_policy(store, iteration=2))
            store.delete(old)
        return fetch(store, ref)

    monkeypatch.setattr(PolicyStore, "fetch", overtaken)
    bench.watcher.look()
    assert [await acts(bench)] == [ref.version for ref in newer]
    assert (bench.watcher.last_error, bench.watcher.broken) == (None, {})
    assert [labels for _, labels in sink.of(RELOADS)] == [{"outcome": "ok"}]


async def test_what_was_deleted_is_served_on_and_not_found_by_its_name(
    bench: Bench, publish_policy: PublishPolicy
) -> None:
    served, other = (publish_policy(bench.store, iteration=number) for number in (2, 1))
    bench.store.promote(served)
    bench.watcher.look()
    for ref in (served, other):
        bench.store.delete(ref)
    bench.watcher.look()
    assert await acts(bench) == served.version
    assert (await bench.client.get(f"/gif/{served.version}/1.gif")).status_code == 200
    assert (await bench.client.get(f"/gif/{other.version}/1.gif")).status_code == 404
