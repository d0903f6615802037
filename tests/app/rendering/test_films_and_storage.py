"""Films whose policies or files are in storage."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from pathlib import Path

import pytest

from app.errors import PolicyNotFoundError, StorageUnavailableError
from app.metrics import FilmCounts
from app.policies.storage_reader import StorageReader
from app.rendering import films
from app.rendering.film_files import FilmFiles
from app.rendering.film_order import FilmOrder
from app.rendering.films import FilmRenderer
from tests.app.conftest import eventually
from tests.conftest import PublishPolicy
from training.policy.manifest import MANIFEST_FILE
from training.policy.published import PublishedPolicy
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore
from training.store.storage import Storage

pytestmark = pytest.mark.anyio


async def test_the_policy_must_be_the_one_ordered(
    renderer: FilmRenderer, order: FilmOrder, store: PolicyStore, ref: PolicyRef
) -> None:
    with pytest.raises(PolicyNotFoundError, match="other weights"):
        await renderer.film(dataclasses.replace(order, digest="0" * 64))
    with pytest.raises(PolicyNotFoundError, match="absent"):
        await renderer.film(dataclasses.replace(order, version="absent"))
    store.storage.write(f"{ref.folder}/{MANIFEST_FILE}", b"{}")
    with pytest.raises(PolicyNotFoundError, match="not valid"):
        await renderer.film(order)


async def test_the_bundled_policy_is_not_looked_for_in_storage(
    renderer: FilmRenderer,
    counts: FilmCounts,
    order: FilmOrder,
    store: PolicyStore,
    ref: PolicyRef,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.policies.bundled.BUNDLED_FOLDER", Path(store.storage.at(ref.folder)))
    bundled = dataclasses.replace(order, source="bundled")
    shown = await renderer.film(order)
    monkeypatch.setattr(PolicyStore, "fetch", lambda *_: 1 / 0)
    assert await renderer.film(bundled) == shown
    assert counts.rendered == 2
    with pytest.raises(PolicyNotFoundError, match="other weights"):
        await renderer.film(dataclasses.replace(bundled, digest="0" * 64))


async def test_policies_are_fetched_once_and_a_few_kept(
    store: PolicyStore,
    publish_policy: PublishPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(films, "_POLICIES_KEPT", 2)
    reader = StorageReader(store.storage.root)
    renderer = FilmRenderer(store, reader, max_waiting=2, cache_bytes=10_000_000)
    fetched: list[str] = []
    fetch = PolicyStore.fetch

    def counted(store: PolicyStore, ref: PolicyRef) -> object:
        fetched.append(ref.version)
        return fetch(store, ref)

    monkeypatch.setattr(PolicyStore, "fetch", counted)
    orders = []
    for iteration in (1, 2, 3):
        ref = publish_policy(store, iteration=iteration)
        digest = fetch(store, ref).manifest.digest
        orders.append(FilmOrder(ref.run, ref.version, digest, max_steps=4, width=30))
    for seed, order in enumerate([orders[0], orders[0], orders[1], orders[2], orders[0]]):
        await renderer.film(dataclasses.replace(order, seed=seed))
    assert fetched == [orders[number].version for number in (0, 1, 2, 0)]
    renderer.close()
    reader.close()


async def test_storage_that_is_away_is_not_a_missing_policy(
    renderer: FilmRenderer, order: FilmOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(PolicyStore, "fetch", away)
    with pytest.raises(StorageUnavailableError):
        await renderer.film(order)


async def test_a_policy_that_comes_along_is_not_looked_for_in_storage(
    renderer: FilmRenderer, order: FilmOrder, store: PolicyStore, ref: PolicyRef
) -> None:
    given = store.fetch(ref)
    store.delete(ref)
    assert (await renderer.film(order, given)).startswith(b"GIF89a")
    # It is kept: the next one does without.
    assert (await renderer.film(dataclasses.replace(order, seed=6))).startswith(b"GIF89a")


async def test_storage_that_hangs_holds_up_no_film_of_a_policy_that_is_known(
    renderer: FilmRenderer,
    order: FilmOrder,
    store: PolicyStore,
    publish_policy: PublishPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await renderer.film(order)
    answers = threading.Event()
    fetch = PolicyStore.fetch

    def hang(store: PolicyStore, ref: PolicyRef) -> PublishedPolicy:
        assert answers.wait(60)
        return fetch(store, ref)

    monkeypatch.setattr(PolicyStore, "fetch", hang)
    other = publish_policy(store, iteration=2)
    digest = fetch(store, other).manifest.digest
    held_up = asyncio.create_task(
        renderer.film(dataclasses.replace(order, version=other.version, digest=digest))
    )
    await asyncio.sleep(0)
    assert (await renderer.film(dataclasses.replace(order, seed=6))).startswith(b"GIF89a")
    answers.set()
    assert (await held_up).startswith(b"GIF89a")


async def test_a_finished_film_is_not_rendered_again_by_another_renderer(
    store: PolicyStore, order: FilmOrder
) -> None:
    reader = StorageReader(store.storage.root)
    counts: list[FilmCounts] = []
    contents = []
    for _ in range(2):
        renderer = FilmRenderer(
            store,
            reader,
            max_waiting=2,
            cache_bytes=10_000_000,
            files=FilmFiles(store.storage, 10_000_000),
            report=lambda new: counts.append(dataclasses.replace(new)),
        )
        contents.append(await renderer.film(order))
        files = FilmFiles(store.storage, 10_000_000)

        async def stored(files: FilmFiles = files) -> bool:
            return files.read(order) is not None

        await eventually(stored)
        renderer.close()
    reader.close()
    assert contents[0] == contents[1]
    assert max(each.rendered for each in counts) == 1
    assert counts[-1].rendered == 0


async def test_storage_that_is_away_does_not_prevent_a_film(
    store: PolicyStore, order: FilmOrder, ref: PolicyRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = store.fetch(ref)

    def away(*_: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(Storage, "read", away)
    monkeypatch.setattr(Storage, "write", away)
    reader = StorageReader(store.storage.root)
    files = FilmFiles(store.storage, 10_000_000)
    renderer = FilmRenderer(store, reader, max_waiting=2, cache_bytes=10_000_000, files=files)
    assert (await renderer.film(order, given)).startswith(b"GIF89a")
    renderer.close()
    reader.close()
