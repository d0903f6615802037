from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

import pytest

from app.errors import OverloadedError, StorageUnavailableError
from app.policies import listing
from app.policies.listing import Lister
from app.policies.storage_reader import StorageReader
from tests.app.conftest import eventually
from tests.conftest import PublishPolicy
from tests.support.waiting import PATIENCE_S
from training.store.policies import Listing, PolicyStore

pytestmark = pytest.mark.anyio

T = TypeVar("T")


class Storage:
    """A store's listing, counted, that can be held up or away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.error: OSError | None = None
        self.open = threading.Event()
        self.open.set()
        real = PolicyStore.listing

        def counted(store: PolicyStore) -> Listing:
            self.calls += 1
            self.open.wait(PATIENCE_S)
            if self.error is not None:
                raise self.error
            return real(store)

        monkeypatch.setattr(PolicyStore, "listing", counted)

    async def asked(self, number: int) -> None:
        """Wait until it has been listed so often, or is being listed."""

        async def look() -> bool:
            return self.calls == number

        await eventually(look)


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Storage:
    return Storage(monkeypatch)


async def test_storage_is_listed_once_for_a_while(
    store: PolicyStore,
    storage: Storage,
    publish_policy: PublishPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lister = Lister(store, StorageReader(store.storage.root))
    found = await asyncio.gather(*(lister.listing() for _ in range(20)))
    assert storage.calls == 1
    ref = publish_policy(store)
    assert await lister.listing() is found[0]
    monkeypatch.setattr(listing, "_KEPT_S", 0.0)
    await asyncio.sleep(0.01)
    assert [each.version for each in (await lister.listing()).policies] == [ref.version]
    assert storage.calls == 2


async def test_a_failure_is_for_those_who_waited_alone(
    store: PolicyStore, storage: Storage
) -> None:
    lister = Lister(store, StorageReader(store.storage.root))
    storage.error = ConnectionError("no route")
    storage.open.clear()
    first = asyncio.create_task(lister.listing())
    await storage.asked(1)
    others = [asyncio.create_task(lister.listing()) for _ in range(20)]
    await asyncio.sleep(0)  # they begin to wait
    storage.open.set()
    results = await asyncio.gather(first, *others, return_exceptions=True)
    assert {type(result) for result in results} == {StorageUnavailableError}
    assert storage.calls == 1
    storage.error = None
    assert (await lister.listing()).policies == []


async def test_who_leaves_while_it_is_listed_leaves_nothing_behind(
    store: PolicyStore, storage: Storage, publish_policy: PublishPolicy
) -> None:
    lister = Lister(store, StorageReader(store.storage.root))
    storage.open.clear()
    leaving = asyncio.create_task(lister.listing())
    await storage.asked(1)
    leaving.cancel()
    ref = publish_policy(store)
    storage.open.set()
    assert [each.version for each in (await lister.listing()).policies] == [ref.version]
    assert storage.calls == 1


async def test_few_wait_for_it(
    store: PolicyStore, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "LISTINGS", 2)
    lister = Lister(store, StorageReader(store.storage.root))
    storage.open.clear()
    waiting = [asyncio.create_task(lister.listing()) for _ in range(2)]
    await asyncio.sleep(0)  # they begin to wait
    with pytest.raises(OverloadedError, match="2 requests wait"):
        await lister.listing()
    storage.open.set()
    assert len(await asyncio.gather(*waiting)) == 2
    assert (await lister.listing()).policies == []


async def gives_up(lister: Lister) -> None:
    with pytest.raises(StorageUnavailableError, match=r"is still being listed after 0\.1 s"):
        await lister.listing()


async def test_one_that_takes_long_goes_on_and_refuses_no_other_read(
    store: PolicyStore,
    storage: Storage,
    publish_policy: PublishPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listing, "_TIMEOUT_S", 0.1)
    reads = StorageReader(store.storage.root)
    lister = Lister(store, reads)
    ref = publish_policy(store)
    storage.open.clear()
    for _ in range(3):
        await gives_up(lister)
    assert storage.calls == 1
    # All the while files are read, by many at once.
    await asyncio.gather(*(reads.read(lambda: None) for _ in range(20)))
    monkeypatch.setattr(listing, "_TIMEOUT_S", 60.0)
    joining = asyncio.create_task(lister.listing())
    await asyncio.sleep(0)  # it begins to wait
    storage.open.set()
    assert [each.version for each in (await joining).policies] == [ref.version]
    assert storage.calls == 1


async def test_what_a_late_one_found_answers_the_next(
    store: PolicyStore,
    storage: Storage,
    publish_policy: PublishPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listing, "_TIMEOUT_S", 0.1)
    # However old it is by its beginning.
    monkeypatch.setattr(listing, "_KEPT_S", 0.0)
    reads = StorageReader(store.storage.root)
    ended = asyncio.Event()
    start = reads.start

    def start_and_tell(work: Callable[[], T]) -> asyncio.Future[T]:
        running = start(work)
        running.add_done_callback(lambda _: ended.set())
        return running

    monkeypatch.setattr(reads, "start", start_and_tell)
    lister = Lister(store, reads)
    ref = publish_policy(store)
    storage.open.clear()
    await gives_up(lister)
    # It is kept for as long again as it took, so it has to take longer than the next one needs.
    await asyncio.sleep(2)
    storage.open.set()
    await ended.wait()
    assert [each.version for each in (await lister.listing()).policies] == [ref.version]
    assert storage.calls == 1
