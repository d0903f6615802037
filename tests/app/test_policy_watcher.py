from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.policy_watcher import LoadedPolicy, PolicyWatcher
from tests.app.conftest import INTERVAL_S, pictures
from tests.conftest import PublishPolicy, build_actor, build_manifest
from tests.damages import Corrupt
from training.layout import LATEST_FILE, PolicyRef
from training.manifest import MANIFEST_FILE, WEIGHTS_FILE
from training.policy import Policy, weights_to_bytes
from training.storage import Storage
from training.store import PolicyStore


def eventually(holds: Callable[[], object], timeout_s: float = 5) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def damage(store: PolicyStore, ref: PolicyRef) -> None:
    path = f"{ref.folder}/{WEIGHTS_FILE}"
    content = store.storage.read(path)
    store.storage.write(path, content[:-1] + bytes([content[-1] ^ 1]))


@dataclasses.dataclass(frozen=True)
class CountingStorage(Storage):
    """Counts what is read, can be away, and answers only while its lock is free."""

    reads: Counter[str] = dataclasses.field(default_factory=Counter)
    away: threading.Event = dataclasses.field(default_factory=threading.Event)
    answering: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def read(self, relative: str) -> bytes:
        self.reads[relative] += 1
        with self.answering:
            pass
        if self.away.is_set():
            raise OSError("the bucket does not answer")
        return super().read(relative)

    def folders(self, relative: str) -> list[str]:
        self.reads[f"list {relative}"] += 1
        return super().folders(relative)


@pytest.fixture
def storage(tmp_path: Path) -> CountingStorage:
    plain = Storage.open(str(tmp_path / "store"))
    return CountingStorage(plain.root, plain.filesystem, plain.path)


@pytest.fixture
def store(storage: CountingStorage) -> PolicyStore:
    return PolicyStore(storage)


def test_waits_for_the_first_policy(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    watcher.start()
    assert watcher.wait_looked(5)
    assert not watcher.wait_ready(0)
    assert [watcher.loaded, watcher.last_error] == [None, None]
    ref = publish_policy(store)
    assert watcher.wait_ready(5)
    assert watcher.loaded is not None
    assert watcher.loaded.ref == ref
    assert watcher.loaded.source == "storage"


def test_acts_as_the_published_policy_does(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    ref = publish_policy(store)
    watcher.look()
    offline = Policy.from_published(store.fetch(ref))
    assert watcher.loaded is not None
    observations = pictures(3, 84, 84, 4)
    np.testing.assert_array_equal(
        watcher.loaded.policy.act(observations), offline.act(observations)
    )


def test_an_unchanged_store_costs_one_small_read(
    watcher: PolicyWatcher,
    store: PolicyStore,
    storage: CountingStorage,
    publish_policy: PublishPolicy,
) -> None:
    publish_policy(store)
    watcher.look()
    before = watcher.loaded
    storage.reads.clear()
    for _ in range(5):
        watcher.look()
    assert storage.reads == {LATEST_FILE: 5}
    assert watcher.loaded is before


def test_an_empty_store_is_not_listed_at_every_look(
    watcher: PolicyWatcher, storage: CountingStorage
) -> None:
    watcher.look()
    storage.reads.clear()
    watcher.look()
    assert storage.reads == {LATEST_FILE: 1}


def test_follows_newer_policies_and_promotions(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    first = publish_policy(store, iteration=1)
    watcher.look()
    second = publish_policy(store, iteration=2)
    watcher.look()
    assert watcher.loaded is not None
    assert watcher.loaded.ref == second
    store.promote(first)
    watcher.look()
    assert watcher.loaded.ref == first


def test_a_broken_policy_is_skipped_and_told_once(
    watcher: PolicyWatcher,
    store: PolicyStore,
    storage: CountingStorage,
    publish_policy: PublishPolicy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    good = publish_policy(store, iteration=1)
    watcher.look()
    bad = publish_policy(store, iteration=2)
    damage(store, bad)
    before = watcher.loaded
    for _ in range(5):
        watcher.look()
    assert watcher.loaded is before
    assert before is not None
    assert before.ref == good
    assert storage.reads[f"{bad.folder}/{WEIGHTS_FILE}"] == 2  # here, and once by the watcher
    assert storage.reads[f"{good.folder}/{WEIGHTS_FILE}"] == 1
    assert watcher.last_error is not None
    assert "sha256" in watcher.last_error
    assert list(watcher.broken) == [bad.version]
    assert len([line for line in caplog.messages if bad.version in line]) == 1


def test_the_newest_whole_policy_is_taken_in_place_of_a_broken_one(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    publish_policy(store, iteration=1)
    watcher.look()
    second = publish_policy(store, iteration=2)
    damage(store, publish_policy(store, iteration=3))
    watcher.look()
    assert watcher.loaded is not None
    assert watcher.loaded.ref == second


def test_a_repaired_policy_is_taken_after_a_while(
    watcher: PolicyWatcher,
    store: PolicyStore,
    publish_policy: PublishPolicy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    publish_policy(store, iteration=1)
    bad = publish_policy(store, iteration=2)
    damage(store, bad)
    watcher.start()
    assert watcher.wait_ready(5)
    time.sleep(1.2)  # more than two retries
    assert len([line for line in caplog.messages if bad.version in line]) == 1
    damage(store, bad)  # the bit flips back
    eventually(lambda: watcher.loaded and watcher.loaded.ref == bad)
    assert watcher.last_error is None
    assert watcher.broken == {}


@pytest.mark.parametrize("missing", [MANIFEST_FILE, WEIGHTS_FILE])
def test_a_policy_without_one_of_its_files_is_skipped(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy, missing: str
) -> None:
    good = publish_policy(store, iteration=1)
    bad = publish_policy(store, iteration=2)
    Path(store.storage.at(f"{bad.folder}/{missing}")).unlink()
    watcher.look()
    assert watcher.loaded is not None
    assert watcher.loaded.ref == good
    assert watcher.last_error is not None


def test_a_policy_that_fails_to_run_is_skipped(
    watcher: PolicyWatcher,
    store: PolicyStore,
    publish_policy: PublishPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = publish_policy(store, iteration=1)
    watcher.look()

    def fail(_: Policy) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(Policy, "warm_up", fail)
    publish_policy(store, iteration=2)
    watcher.look()
    assert watcher.loaded is not None
    assert watcher.loaded.ref == good
    assert watcher.last_error is not None
    assert "cannot be built: RuntimeError: no such kernel" in watcher.last_error


def test_without_latest_json_the_newest_is_served(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    publish_policy(store, iteration=1)
    second = publish_policy(store, iteration=2)
    Path(store.storage.at(LATEST_FILE)).unlink()
    watcher.look()
    assert watcher.loaded is not None
    assert watcher.loaded.ref == second


def test_storage_may_go_away_and_come_back(
    watcher: PolicyWatcher,
    store: PolicyStore,
    storage: CountingStorage,
    publish_policy: PublishPolicy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    publish_policy(store, iteration=1)
    watcher.start()
    assert watcher.wait_ready(5)
    loaded = watcher.loaded
    storage.away.set()
    eventually(lambda: watcher.last_error)
    time.sleep(5 * INTERVAL_S)
    assert watcher.loaded is loaded
    assert "the bucket does not answer" in str(watcher.last_error)
    assert len([line for line in caplog.messages if "does not answer" in line]) == 1
    storage.away.clear()
    eventually(lambda: watcher.last_error is None)
    second = publish_policy(store, iteration=2)
    eventually(lambda: watcher.loaded and watcher.loaded.ref == second)
    assert watcher.alive


def test_nothing_ends_the_thread(
    watcher: PolicyWatcher,
    store: PolicyStore,
    publish_policy: PublishPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(PolicyStore, "latest_ref", lambda _: 1 / 0)
        watcher.start()
        eventually(lambda: watcher.last_error)
        assert "ZeroDivisionError" in str(watcher.last_error)
    publish_policy(store)
    assert watcher.wait_ready(5)


def test_listeners_hear_of_looks_and_reloads(
    store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    served: list[LoadedPolicy | None] = []
    reloads: list[bool] = []
    watcher = PolicyWatcher(
        store, INTERVAL_S, retry_s=60, on_look=served.append, on_reload=reloads.append
    )
    first = publish_policy(store)
    damage(store, publish_policy(store, iteration=2))
    watcher.look()
    assert reloads == [False, True]
    watcher.start()
    eventually(lambda: len(served) > 2)
    watcher.stop()
    assert {None if each is None else each.ref for each in served} == {first}
    assert reloads == [False, True]


def test_a_listener_that_fails_changes_nothing(
    store: PolicyStore, publish_policy: PublishPolicy, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("deaf")

    watcher = PolicyWatcher(store, INTERVAL_S, on_look=fail, on_reload=fail)
    publish_policy(store)
    watcher.start()
    assert watcher.wait_ready(5)
    eventually(lambda: caplog.text.count("deaf") > 2)
    assert watcher.alive
    watcher.stop()


def test_stop_ends_the_thread(watcher: PolicyWatcher) -> None:
    watcher.start()
    assert watcher.alive
    watcher.stop()
    assert not watcher.alive


def test_weights_of_another_shape_are_broken(watcher: PolicyWatcher, store: PolicyStore) -> None:
    weights = weights_to_bytes(build_actor())
    manifest = build_manifest(weights)
    wider = dataclasses.replace(manifest.network, hidden=manifest.network.hidden + 1)
    store.publish(manifest.model_copy(update={"network": wider}), weights)
    watcher.look()
    assert watcher.loaded is None
    assert "do not fit" in str(watcher.last_error)


def test_manifests_are_read_once(
    store: PolicyStore, storage: CountingStorage, publish_policy: PublishPolicy
) -> None:
    refs = [publish_policy(store, iteration=number) for number in (1, 2)]
    store.storage.write(f"{refs[0].folder}/{MANIFEST_FILE}", b"{}")
    for _ in range(3):
        listing = store.listing()
        assert [m.version for m in listing.policies] == [refs[1].version]
        assert set(listing.broken) == {refs[0]}
    assert storage.reads[f"{refs[1].folder}/{MANIFEST_FILE}"] == 1
    assert storage.reads[f"{refs[0].folder}/{MANIFEST_FILE}"] == 3  # it may be repaired


@pytest.mark.parametrize("file", [MANIFEST_FILE, WEIGHTS_FILE])
def test_an_older_policy_is_better_than_none_where_the_newest_cannot_be_read(
    watcher: PolicyWatcher,
    store: PolicyStore,
    publish_policy: PublishPolicy,
    caplog: pytest.LogCaptureFixture,
    file: str,
) -> None:
    older, newest = (publish_policy(store, iteration=number) for number in (1, 2))
    bad = Corrupt(store.storage, newest)
    whole = store.storage.read(bad.path(file))
    bad.put_folder(file)
    watcher.look()
    assert watcher.loaded is not None
    assert watcher.loaded.ref == older
    reason = f"{newest.version}: it cannot be read: "
    assert str(watcher.last_error).startswith(reason)
    assert watcher.broken[newest.version].startswith(reason)
    assert f"policy skipped: {reason}" in caplog.text
    Path(store.storage.at(bad.path(file))).rmdir()
    store.storage.write(bad.path(file), whole)
    watcher.start()
    eventually(lambda: watcher.loaded and watcher.loaded.ref == newest)
    eventually(lambda: watcher.last_error is None)
    assert watcher.broken == {}


def test_a_newest_policy_that_cannot_be_read_changes_nothing_that_is_loaded(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    publish_policy(store, iteration=1)
    watcher.look()
    loaded = watcher.loaded
    publish_policy(store, iteration=2)
    Corrupt(store.storage, publish_policy(store, iteration=3)).put_folder(WEIGHTS_FILE)
    with pytest.raises(OSError, match="is a directory"):
        watcher.look()
    assert watcher.loaded is loaded


def test_where_no_policy_can_be_read_storage_is_away(
    watcher: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    for number in (1, 2):
        Corrupt(store.storage, publish_policy(store, iteration=number)).put_folder(WEIGHTS_FILE)
    with pytest.raises(OSError, match=r"000002.*is a directory"):
        watcher.look()
    assert watcher.loaded is None


def test_storage_that_goes_away_under_way_is_not_asked_for_every_policy(
    watcher: PolicyWatcher,
    store: PolicyStore,
    storage: CountingStorage,
    publish_policy: PublishPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in (1, 2, 3):
        publish_policy(store, iteration=number)
    store.listing()
    storage.reads.clear()

    def go_away(*_: object) -> None:
        storage.away.set()
        raise OSError("the bucket does not answer")

    monkeypatch.setattr(PolicyStore, "fetch", go_away)
    with pytest.raises(OSError, match="does not answer"):
        watcher.look()
    assert storage.reads == {LATEST_FILE: 3}  # by the look, for the newest, and after the failure
    assert watcher.loaded is None


def served(watcher: PolicyWatcher) -> tuple[str, PolicyRef]:
    """Where the served policy is from, and which it is."""
    assert watcher.loaded is not None
    return watcher.loaded.source, watcher.loaded.ref


def ref_of(policy: Policy) -> PolicyRef:
    return PolicyRef(run=policy.manifest.run, version=policy.version)


def test_the_fallback_drives_until_a_policy_is_published(
    falling_back: PolicyWatcher,
    fallback: Policy,
    store: PolicyStore,
    publish_policy: PublishPolicy,
) -> None:
    assert not falling_back.wait_ready(0)
    falling_back.start()
    assert falling_back.wait_looked(5)
    assert falling_back.wait_ready(0)
    assert served(falling_back) == ("bundled", ref_of(fallback))
    assert falling_back.last_error is None
    ref = publish_policy(store)
    eventually(lambda: served(falling_back) == ("storage", ref))


def test_the_fallback_never_drives_where_storage_has_a_policy(
    falling_back: PolicyWatcher,
    store: PolicyStore,
    publish_policy: PublishPolicy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    ref = publish_policy(store)
    falling_back.start()
    assert falling_back.wait_looked(5)
    falling_back.fall_back()
    assert served(falling_back) == ("storage", ref)
    assert "bundled" not in caplog.text


def test_what_storage_had_is_served_on_when_it_is_gone(
    falling_back: PolicyWatcher, store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    ref = publish_policy(store)
    falling_back.look()
    Path(store.storage.at(LATEST_FILE)).unlink()
    store.storage.delete_folder("runs")
    falling_back.look()
    falling_back.fall_back()
    assert served(falling_back) == ("storage", ref)


def test_a_broken_policy_is_told_while_the_fallback_drives(
    falling_back: PolicyWatcher,
    fallback: Policy,
    store: PolicyStore,
    publish_policy: PublishPolicy,
) -> None:
    bad = publish_policy(store)
    damage(store, bad)
    falling_back.start()
    assert falling_back.wait_looked(5)
    assert served(falling_back) == ("bundled", ref_of(fallback))
    assert "sha256" in str(falling_back.last_error)
    assert list(falling_back.broken) == [bad.version]
    damage(store, bad)  # the bit flips back
    eventually(lambda: served(falling_back) == ("storage", bad))
    eventually(lambda: falling_back.last_error is None)


def test_the_fallback_drives_only_when_told_to_while_storage_is_away(
    falling_back: PolicyWatcher,
    fallback: Policy,
    store: PolicyStore,
    storage: CountingStorage,
    publish_policy: PublishPolicy,
) -> None:
    ref = publish_policy(store)
    storage.away.set()
    falling_back.start()
    assert not falling_back.wait_looked(0.3)
    assert falling_back.loaded is None
    falling_back.fall_back()
    assert served(falling_back) == ("bundled", ref_of(fallback))
    assert "storage is away" in str(falling_back.last_error)
    storage.away.clear()
    eventually(lambda: served(falling_back) == ("storage", ref))


def test_the_fallback_drives_while_the_first_look_hangs(
    falling_back: PolicyWatcher,
    fallback: Policy,
    store: PolicyStore,
    storage: CountingStorage,
    publish_policy: PublishPolicy,
) -> None:
    ref = publish_policy(store)
    with storage.answering:
        falling_back.start()
        assert not falling_back.wait_looked(0.1)
        assert falling_back.loaded is None
        falling_back.fall_back()
        assert served(falling_back) == ("bundled", ref_of(fallback))
        assert "not answered yet" in str(falling_back.last_error)
    eventually(lambda: served(falling_back) == ("storage", ref))
    assert falling_back.wait_looked(5)
    assert falling_back.last_error is None


def test_the_fallback_itself_may_be_published(
    falling_back: PolicyWatcher, fallback: Policy, store: PolicyStore
) -> None:
    falling_back.fall_back()
    ref = store.publish(fallback.manifest, weights_to_bytes(build_actor()))
    falling_back.look()
    assert served(falling_back) == ("storage", ref)
