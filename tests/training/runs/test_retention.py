from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from tests.conftest import PublishPolicy, exists, give_scores
from tests.damages import Corrupt
from training.policy.manifest import MANIFEST_FILE, WEIGHTS_FILE
from training.policy.published import BrokenPolicyError
from training.runs.retention import prune
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore
from training.store.storage import Storage

Refs = list[PolicyRef]


def publish_five(store: PolicyStore, publish_policy: PublishPolicy) -> Refs:
    """Five policies of a run, oldest first, beside one of another."""
    publish_policy(store, run="run-b")
    return [publish_policy(store, iteration=number) for number in range(1, 6)]


@pytest.fixture
def published(store: PolicyStore, publish_policy: PublishPolicy) -> Refs:
    """They, on the disk."""
    return publish_five(store, publish_policy)


def kept(store: PolicyStore, run: str = "run-a") -> list[int]:
    """The iterations of the policies that are there, oldest first."""
    return sorted(manifest.iteration for manifest in store.listing(run=run).policies)


def test_the_newest_are_kept_and_other_runs_are_let_alone(
    any_store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    store, published = any_store, publish_five(any_store, publish_policy)
    prune(store, "run-a", keep=2, spare=[])
    assert (kept(store), kept(store, "run-b")) == ([4, 5], [1])
    for ref in published[:3]:
        assert not exists(store.storage, f"{ref.folder}/{WEIGHTS_FILE}")
        with pytest.raises(FileNotFoundError):
            store.fetch(ref)
    assert store.newest().manifest.iteration == 5


def test_fewer_than_are_kept_are_all_kept(store: PolicyStore, published: Refs) -> None:
    prune(store, "run-a", keep=6, spare=[])
    prune(store, "absent", keep=1, spare=[])
    assert kept(store) == [1, 2, 3, 4, 5]


def test_what_is_the_latest_and_what_is_spared_stay(store: PolicyStore, published: Refs) -> None:
    store.promote(published[0])
    prune(store, "run-a", keep=1, spare=[published[2]])
    assert kept(store) == [1, 3, 5]


def test_the_best_of_all_runs_and_the_best_of_the_run_stay(
    store: PolicyStore, published: Refs
) -> None:
    give_scores(store, {published[0]: 30.0, published[1]: 20.0, published[2]: 10.0})
    prune(store, "run-a", keep=1, spare=[])
    assert kept(store) == [1, 5]
    # Another run's is better: the best of this run is needed for its result.
    give_scores(store, dict.fromkeys(store.refs(run="run-b"), 99.0))
    assert store.best_ref() not in published
    prune(store, "run-a", keep=1, spare=[])
    assert kept(store) == [1, 5]


def test_where_the_latest_cannot_be_told_nothing_is_deleted(
    store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    for number in (1, 2, 3):
        publish_policy(store, iteration=number)
    store.storage.write("latest.json", b"{}")
    with pytest.raises(BrokenPolicyError, match=r"latest\.json is not valid"):
        prune(store, "run-a", keep=1, spare=[])
    assert kept(store) == [1, 2, 3]


@pytest.mark.parametrize(("unreadable", "left"), [(0, [4, 5]), (4, [3, 4])])
def test_one_that_cannot_be_read_stays_and_holds_up_nothing(
    store: PolicyStore, publish_policy: PublishPolicy, unreadable: int, left: list[int]
) -> None:
    published = [publish_policy(store, iteration=number) for number in range(1, 6)]
    Corrupt(store.storage, published[unreadable]).put_folder(MANIFEST_FILE)
    prune(store, "run-a", keep=2, spare=[])
    assert kept(store) == left
    assert list(store.listing().broken) == [published[unreadable]]


def refuse(*_: object) -> None:
    raise OSError("the bucket does not answer")


def test_a_deletion_that_was_cut_short_is_finished_the_next_time(
    any_store: PolicyStore, publish_policy: PublishPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, published = any_store, publish_five(any_store, publish_policy)
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "delete_folder", refuse)
        with pytest.raises(OSError, match="does not answer"):
            prune(store, "run-a", keep=2, spare=[])
    # The oldest has lost its manifest: it is not there any more, but its weights are.
    assert kept(store) == [2, 3, 4, 5]
    assert exists(store.storage, f"{published[0].folder}/{WEIGHTS_FILE}")
    prune(store, "run-a", keep=2, spare=[])
    assert kept(store) == [4, 5]
    assert not exists(store.storage, f"{published[0].folder}/{WEIGHTS_FILE}")


def test_what_is_being_published_is_no_rubbish(store: PolicyStore, published: Refs) -> None:
    newer = PolicyRef(run="run-a", version="run-a-000006-00000000")
    store.storage.write(f"{newer.folder}/{WEIGHTS_FILE}", b"weights")
    prune(store, "run-a", keep=1, spare=[])
    assert exists(store.storage, f"{newer.folder}/{WEIGHTS_FILE}")


def after(reads: str, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have something happen once, right after a file was read."""
    read = Storage.read

    def reading(storage: Storage, relative: str) -> bytes:
        content = read(storage, relative)
        if relative == reads:
            monkeypatch.setattr(Storage, "read", read)
            act()
        return content

    monkeypatch.setattr(Storage, "read", reading)


@pytest.mark.parametrize("file", [MANIFEST_FILE, "latest.json"])
def test_a_reader_whose_policy_is_deleted_under_way_gets_the_next(
    store: PolicyStore,
    published: Refs,
    publish_policy: PublishPolicy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    file: str,
) -> None:
    def publish_and_prune() -> None:
        publish_policy(store, iteration=6)
        prune(store, "run-a", keep=1, spare=[])

    path = file if file == "latest.json" else f"{published[-1].folder}/{file}"
    after(path, publish_and_prune, monkeypatch)
    assert store.newest().manifest.iteration == 6
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


def test_a_reader_that_lists_slowly_looks_again(
    store: PolicyStore,
    publish_policy: PublishPolicy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ref = publish_policy(store, iteration=1)
    store.storage.delete_file("latest.json")

    def publish_and_prune() -> None:
        publish_policy(store, iteration=2)
        prune(store, "run-a", keep=1, spare=[])

    after(f"{ref.folder}/{MANIFEST_FILE}", publish_and_prune, monkeypatch)
    assert store.newest().manifest.iteration == 2


def test_a_reader_that_has_its_policy_is_done_with_storage(
    store: PolicyStore, published: Refs, publish_policy: PublishPolicy
) -> None:
    fetched = store.fetch(published[0])
    prune(store, "run-a", keep=1, spare=[])
    assert fetched.manifest.iteration == 1
