from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import NoPolicyLoadedError, PolicyNotFoundError, StorageUnavailableError
from app.policies import finder as policy_finder
from app.policies.bundled import read_bundled
from app.policies.finder import PolicyFinder
from app.policies.listing import Lister
from app.policies.storage_reader import StorageReader
from app.policies.watcher import PolicyWatcher
from tests.app.conftest import pictures
from tests.conftest import PublishPolicy, give_scores
from training.policy.acting import Policy
from training.policy.manifest import MANIFEST_FILE, WEIGHTS_FILE
from training.policy.published import PublishedPolicy
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore
from training.store.storage import Storage

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def following(watcher: PolicyWatcher) -> AsyncIterator[None]:
    """With a watcher that has loaded something; the fixtures end it."""
    watcher.start()
    assert await asyncio.to_thread(watcher.wait_ready, 60)
    yield


def finder_of(store: PolicyStore, watcher: PolicyWatcher) -> PolicyFinder:
    reads = StorageReader(store.storage.root)
    return PolicyFinder(store, watcher, Lister(store, reads), reads)


@pytest.fixture
def finder(store: PolicyStore, watcher: PolicyWatcher) -> PolicyFinder:
    return finder_of(store, watcher)


class Fetches:
    """What is fetched from storage."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.versions: list[str] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        fetch = PolicyStore.fetch

        def note(store: PolicyStore, ref: PolicyRef) -> PublishedPolicy:
            self.versions.append(ref.version)
            self.begun.set()
            self.go_on.wait(60)
            return fetch(store, ref)

        monkeypatch.setattr(PolicyStore, "fetch", note)


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> Fetches:
    return Fetches(monkeypatch)


async def test_without_any_policy_there_is_none(finder: PolicyFinder, store: PolicyStore) -> None:
    for name in ("served", "latest", "best"):
        with pytest.raises(NoPolicyLoadedError, match=f"published yet in {store.storage.root}"):
            await finder.find(name)


async def test_what_is_followed_is_the_one_that_is_served(
    finder: PolicyFinder, store: PolicyStore, watcher: PolicyWatcher, publish_policy: PublishPolicy
) -> None:
    publish_policy(store)
    async with following(watcher):
        for name in ("served", "latest", "newest", "best"):
            assert await finder.find(name) is watcher.loaded


async def test_a_version_acts_as_it_was_published(
    finder: PolicyFinder, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    refs = [publish_policy(store, iteration=number) for number in (1, 2)]
    observation = pictures(1, 84, 84, 4)
    for ref in refs:
        found = await finder.find(ref.version)
        assert (found.ref, found.source) == (ref, "storage")
        offline = Policy.from_published(store.fetch(ref))
        np.testing.assert_array_equal(found.policy.act(observation), offline.act(observation))


async def test_what_is_served_is_not_loaded_again(
    finder: PolicyFinder,
    store: PolicyStore,
    watcher: PolicyWatcher,
    publish_policy: PublishPolicy,
    fetches: Fetches,
) -> None:
    ref = publish_policy(store, mean_return=500.0)
    async with following(watcher):
        for name in (ref.version, "best"):
            assert await finder.find(name) is watcher.loaded
    assert fetches.versions == [ref.version]


async def test_a_version_is_loaded_once_for_all_who_ask(
    finder: PolicyFinder, store: PolicyStore, publish_policy: PublishPolicy, fetches: Fetches
) -> None:
    ref = publish_policy(store)
    fetches.go_on.clear()
    impatient = asyncio.create_task(finder.find(ref.version))
    assert await asyncio.to_thread(fetches.begun.wait, 60)
    others = [asyncio.create_task(finder.find(ref.version)) for _ in range(10)]
    await asyncio.sleep(0)
    impatient.cancel()
    fetches.go_on.set()
    found = await asyncio.gather(*others)
    assert {id(each) for each in found} == {id(await finder.find(ref.version))}
    assert fetches.versions == [ref.version]


async def test_those_used_last_are_kept(
    store: PolicyStore,
    watcher: PolicyWatcher,
    publish_policy: PublishPolicy,
    fetches: Fetches,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(policy_finder, "_KEPT", 2)
    finder = finder_of(store, watcher)
    one, two, three = (publish_policy(store, iteration=n).version for n in (1, 2, 3))
    for version in (one, two, one, three, one, two):
        await finder.find(version)
    assert fetches.versions == [one, two, three, two]


async def test_a_version_that_was_just_published_is_found(
    finder: PolicyFinder, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    await finder.find(publish_policy(store).version)
    ref = publish_policy(store, iteration=2)
    assert (await finder.find(ref.version)).ref == ref


async def test_the_best_has_the_highest_validation_score_whatever_training_reported(
    finder: PolicyFinder, store: PolicyStore, watcher: PolicyWatcher, publish_policy: PublishPolicy
) -> None:
    refs = [publish_policy(store, iteration=n, mean_return=100.0 * n) for n in (1, 2, 3)]
    give_scores(store, {refs[0]: 10.0, refs[1]: 20.0})
    watcher.look()
    assert (await finder.find("best")).ref == refs[1]
    assert (await finder.find("latest")).ref == (await finder.find("served")).ref == refs[2]
    give_scores(store, {refs[0]: 30.0, refs[1]: 20.0})
    watcher.look()
    assert (await finder.find("best")).ref == refs[0]


async def test_the_best_of_those_that_are_whole(
    finder: PolicyFinder, store: PolicyStore, watcher: PolicyWatcher, publish_policy: PublishPolicy
) -> None:
    refs = [publish_policy(store, iteration=number) for number in (1, 2, 3, 4)]
    give_scores(store, {refs[0]: 10.0, refs[1]: 20.0, refs[2]: 30.0})
    store.storage.write(f"{refs[2].folder}/{WEIGHTS_FILE}", b"torn")
    watcher.look()
    assert (await finder.find("best")).ref == refs[1]


async def test_the_latest_is_had_from_a_service_that_follows_the_best(
    store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    refs = [publish_policy(store, iteration=number) for number in (1, 2)]
    give_scores(store, {refs[0]: 10.0})
    watcher = PolicyWatcher(store, 60.0, follow="best")
    watcher.look()
    finder = finder_of(store, watcher)
    assert (await finder.find("served")).ref == (await finder.find("best")).ref == refs[0]
    assert (await finder.find("latest")).ref == refs[1]


async def test_the_bundled_one_has_two_names(
    store: PolicyStore, falling_back: PolicyWatcher, fallback: Policy
) -> None:
    finder = finder_of(store, falling_back)
    for name in ("bundled", fallback.version):
        found = await finder.find(name)
        assert (found.policy, found.source) == (fallback, "bundled")
        assert found.ref.version == fallback.version


async def test_the_bundled_one_can_be_had_where_it_is_no_fallback(finder: PolicyFinder) -> None:
    found = await finder.find("bundled")
    assert (found.ref.version, found.source) == (read_bundled().manifest.version, "bundled")
    assert await finder.find("bundled") is found


async def test_a_bundled_one_that_is_not_there(
    finder: PolicyFinder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("app.policies.bundled.BUNDLED_FOLDER", tmp_path)
    with pytest.raises(PolicyNotFoundError, match="the bundled policy cannot be used"):
        await finder.find("bundled")


async def test_an_unknown_version_is_named(finder: PolicyFinder) -> None:
    with pytest.raises(PolicyNotFoundError, match="no policy 'v1'; GET /policies lists"):
        await finder.find("v1")


async def test_a_long_name_is_not_repeated(finder: PolicyFinder) -> None:
    with pytest.raises(PolicyNotFoundError) as caught:
        await finder.find("a" * 10_000)
    assert len(str(caught.value)) < 250


async def test_a_description_is_a_manifest_alone(
    finder: PolicyFinder, store: PolicyStore, publish_policy: PublishPolicy, fetches: Fetches
) -> None:
    older, _ = (publish_policy(store, iteration=number) for number in (1, 2))
    described = await finder.describe(older.version)
    assert (described.manifest.version, described.source) == (older.version, "storage")
    assert fetches.versions == []


async def test_what_is_served_and_bundled_is_described_without_storage(
    store: PolicyStore,
    falling_back: PolicyWatcher,
    fallback: Policy,
    publish_policy: PublishPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ref = publish_policy(store)
    falling_back.look()
    monkeypatch.setattr(Storage, "read", lambda *_: 1 / 0)
    finder = finder_of(store, falling_back)
    described = await finder.describe(ref.version)
    assert (described.manifest.version, described.source) == (ref.version, "storage")
    described = await finder.describe(fallback.version)
    assert (described.manifest, described.source) == (fallback.manifest, "bundled")


@pytest.mark.parametrize("name", ["latest", "best", "bundled", "..", ""])
async def test_only_versions_are_described(finder: PolicyFinder, name: str) -> None:
    with pytest.raises(PolicyNotFoundError, match=f"no policy '{name}'"):
        await finder.describe(name)


@pytest.mark.parametrize(
    ("file", "reason"), [(WEIGHTS_FILE, "4 bytes"), (MANIFEST_FILE, "not valid")]
)
async def test_a_broken_version_says_why_until_it_is_repaired(
    finder: PolicyFinder,
    store: PolicyStore,
    publish_policy: PublishPolicy,
    file: str,
    reason: str,
) -> None:
    ref = publish_policy(store)
    place = f"{ref.folder}/{file}"
    whole = store.storage.read(place)
    store.storage.write(place, b"torn")
    with pytest.raises(PolicyNotFoundError, match=f"{ref.version}: .*{reason}"):
        await finder.find(ref.version)
    store.storage.write(place, whole)
    assert (await finder.find(ref.version)).ref == ref


async def test_what_needs_no_storage_does_not_wait_for_it(
    store: PolicyStore,
    falling_back: PolicyWatcher,
    fallback: Policy,
    publish_policy: PublishPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ref = publish_policy(store)
    falling_back.look()
    answers = threading.Event()
    reads = StorageReader(store.storage.root, timeout_s=0.1)
    finder = PolicyFinder(store, falling_back, Lister(store, reads), reads)
    with pytest.raises(StorageUnavailableError):
        await reads.read(partial(answers.wait, 60))
    monkeypatch.setattr(reads, "_timeout_s", 60.0)
    probe = asyncio.create_task(reads.read(partial(answers.wait, 60)))
    await asyncio.sleep(0)
    with pytest.raises(StorageUnavailableError, match="does not answer at the moment"):
        await finder.find("absent")
    for name in ("served", "latest", "best", ref.version):
        assert (await finder.find(name)).ref == ref
    assert (await finder.find("bundled")).policy is fallback
    probe.cancel()
    answers.set()
    reads.close()


async def test_storage_that_is_away_is_an_error_of_its_own(
    finder: PolicyFinder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> bytes:
        raise ConnectionError("no route")

    monkeypatch.setattr(Storage, "read", away)
    with pytest.raises(StorageUnavailableError, match="no route"):
        await finder.find("v1")
