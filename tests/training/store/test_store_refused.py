"""A store whose storage refuses: to read, to write, one object or all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.conftest import PublishPolicy
from tests.damages import Corrupt
from training.policy.manifest import MANIFEST_FILE, WEIGHTS_FILE
from training.store.policies import NoPolicyError, PolicyStore
from training.store.storage import Storage

WRITES = {1: "weights", 2: "manifest", 3: "latest file"}


def versions(store: PolicyStore) -> list[str]:
    return [manifest.version for manifest in store.listing().policies]


def test_a_manifest_that_cannot_be_read_is_listed_as_broken(
    store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    refs = [publish_policy(store, iteration=number) for number in (1, 2, 3)]
    damaged = Corrupt(store.storage, refs[1])
    whole = store.storage.read(damaged.path(MANIFEST_FILE))
    damaged.put_folder(MANIFEST_FILE)
    for run in (None, "run-a"):
        # The second time it is the only one that is still read.
        listing = store.listing(run=run)
        assert [m.version for m in listing.policies] == [refs[2].version, refs[0].version]
        assert (list(listing.broken), listing.unfinished) == ([refs[1]], [])
        reason = f"{refs[1].version}: its manifest cannot be read: "
        assert listing.broken[refs[1]].startswith(reason)
    store.delete(refs[0])
    Path(store.storage.at(damaged.path(MANIFEST_FILE))).rmdir()
    store.storage.write(damaged.path(MANIFEST_FILE), whole)
    assert versions(store) == [refs[2].version, refs[1].version]


@pytest.mark.parametrize("file", [MANIFEST_FILE, WEIGHTS_FILE])
def test_a_policy_that_alone_cannot_be_read_is_passed_over_with_a_reason(
    store: PolicyStore,
    publish_policy: PublishPolicy,
    caplog: pytest.LogCaptureFixture,
    file: str,
) -> None:
    refs = [publish_policy(store, iteration=number) for number in (1, 2)]
    Corrupt(store.storage, refs[1]).put_folder(file)
    assert store.newest().manifest.version == refs[0].version
    assert f"policy skipped: {refs[1].version}: it cannot be read: " in caplog.text
    Corrupt(store.storage, refs[0]).put_folder(file)
    with pytest.raises(NoPolicyError) as refusal:
        store.newest()
    for ref in refs:
        assert f"{ref.version}: it cannot be read: " in str(refusal.value)


def test_storage_that_goes_away_while_a_policy_is_read_is_no_fault_of_the_policy(
    store: PolicyStore, publish_policy: PublishPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        publish_policy(store, iteration=number)
    whole = Storage.read
    reads = 0

    def refuse_after_the_first(storage: Storage, relative: str) -> bytes:
        nonlocal reads
        reads += 1
        if reads > 1:
            raise PermissionError("access denied")
        return whole(storage, relative)

    monkeypatch.setattr(Storage, "read", refuse_after_the_first)
    with pytest.raises(PermissionError, match="access denied"):
        store.newest()


def test_while_no_manifest_can_be_read_and_nothing_else_storage_is_away(
    store: PolicyStore, publish_policy: PublishPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        publish_policy(store, iteration=number)
    read: list[str] = []

    def refuse(_: Storage, relative: str) -> bytes:
        read.append(relative)
        raise PermissionError("access denied")

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "read", refuse)
        assert not store.answers()
        read.clear()
        with pytest.raises(PermissionError, match="access denied"):
            store.listing()
    # Not every one of them is tried, which may take long each.
    assert len(read) == 2
    assert store.answers()
    assert len(versions(store)) == 2


def test_an_empty_root_answers(any_store: PolicyStore) -> None:
    assert any_store.answers()


def test_a_policy_that_could_not_be_read_once_is_not_passed_over(
    store: PolicyStore, publish_policy: PublishPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = [publish_policy(store, iteration=number) for number in (1, 2)]
    whole = Storage.read
    refused: list[str] = []

    def refuse_once(storage: Storage, relative: str) -> bytes:
        if relative.endswith(WEIGHTS_FILE) and not refused:
            refused.append(relative)
            raise OSError("reset")
        return whole(storage, relative)

    monkeypatch.setattr(Storage, "read", refuse_once)
    assert store.newest().manifest.version == refs[1].version
    assert refused == [f"{refs[1].folder}/{WEIGHTS_FILE}"]


@pytest.mark.parametrize("failing", WRITES, ids=WRITES.values())
def test_publishing_that_fails_leaves_the_earlier_policy_and_no_rubbish(
    store: PolicyStore,
    publish_policy: PublishPolicy,
    monkeypatch: pytest.MonkeyPatch,
    failing: int,
) -> None:
    earlier = publish_policy(store, iteration=1)
    replace = Path.replace
    calls = 0

    def run_out_of_space(source: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", run_out_of_space)
        with pytest.raises(OSError, match="No space left"):
            publish_policy(store, iteration=2)
    assert store.newest().manifest.version == earlier.version
    assert not list(Path(store.storage.root).rglob("*.tmp"))
    if failing < 3:
        assert versions(store) == [earlier.version]


def test_publishing_after_a_failure_makes_the_policy_whole(
    store: PolicyStore, publish_policy: PublishPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: Path, target: Path) -> Path:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="Input/output"):
            publish_policy(store)
    ref = publish_policy(store)
    assert store.newest().manifest.version == ref.version
