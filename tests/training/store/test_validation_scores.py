"""Validation scores in a store, and which policy ``best.json`` names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from tests.conftest import PublishPolicy
from training.environment.seeds import GIVEN_SEEDS, SCORE_SEEDS, VALIDATION_SEEDS
from training.store.layout import BEST_FILE, PolicyRef, validation_file
from training.store.policies import PolicyStore
from training.store.storage import Storage
from training.store.validation_scores import (
    Validation,
    point_to_best,
    read_validations,
    write_validations,
)


def scored(*scores: float) -> Validation:
    return Validation(scores=dict(zip(VALIDATION_SEEDS, scores, strict=False)))


def write_scores(storage: Storage, scores: dict[PolicyRef, float]) -> None:
    """Give policies of one run these scores."""
    (run,) = {ref.run for ref in scores}
    validations = {ref.version: scored(score) for ref, score in scores.items()}
    write_validations(storage, run, validations)


def test_validation_has_seeds_of_its_own() -> None:
    assert all(seed in GIVEN_SEEDS for seed in VALIDATION_SEEDS)
    assert not any(seed in SCORE_SEEDS for seed in VALIDATION_SEEDS)


def test_scores_are_listed_with_their_policies(
    any_store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    first, second = (publish_policy(any_store, iteration=number) for number in (1, 2))
    other = publish_policy(any_store, run="run-b")
    assert any_store.listing().validations == {}
    deleted = PolicyRef(run="run-a", version="deleted")
    write_scores(any_store.storage, {first: 20.5, deleted: 99.0})
    write_scores(any_store.storage, {other: 700.25})
    listed = any_store.listing()
    assert {ref: each.mean for ref, each in listed.validations.items()} == {
        first: 20.5,
        other: 700.25,
    }
    assert second in {PolicyRef(run=m.run, version=m.version) for m in listed.policies}


def test_the_score_is_the_mean_of_the_episodes() -> None:
    validation = scored(10.0, 20.0, 60.0)
    assert (validation.mean, validation.episodes) == (30.0, 3)
    assert list(validation.scores) == list(VALIDATION_SEEDS[:3])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"v": {"scores": {}}}'])
def test_scores_that_are_damaged_are_ignored(
    store: PolicyStore, publish_policy: PublishPolicy, content: bytes
) -> None:
    ref = publish_policy(store)
    store.storage.write(validation_file("run-a"), content)
    assert read_validations(store.storage, "run-a") == {}
    assert [m.version for m in store.listing().policies] == [ref.version]


def test_scores_that_alone_cannot_be_read_hold_up_nothing(
    store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    publish_policy(store)
    other = publish_policy(store, run="run-b")
    write_scores(store.storage, {other: 5.0})
    # A folder in its place.
    store.storage.write(f"{validation_file('run-a')}/file", b"")
    assert len(store.listing().policies) == 2
    assert point_to_best(store.storage) == other


def test_the_best_of_all_runs_is_named(
    any_store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    storage = any_store.storage
    assert point_to_best(storage) is None
    assert any_store.best_ref() is None
    first, second = (publish_policy(any_store, iteration=number) for number in (1, 2))
    other = publish_policy(any_store, run="run-b")
    write_scores(storage, {first: 10.0, second: 10.0})
    assert point_to_best(storage) == any_store.best_ref() == second
    write_scores(storage, {other: 11.0})
    assert point_to_best(storage) == any_store.best_ref() == other
    # It was lucky, as more tracks have shown.
    write_scores(storage, {other: 9.0})
    assert point_to_best(storage) == any_store.best_ref() == second
    any_store.delete(second)
    assert point_to_best(storage) == any_store.best_ref() == first


def test_a_best_file_that_is_damaged_is_replaced(
    store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    ref = publish_policy(store)
    write_scores(store.storage, {ref: 1.0})
    store.storage.write(BEST_FILE, b"{")
    point_to_best(store.storage)
    assert store.best_ref() == ref


@dataclasses.dataclass(frozen=True)
class _Interrupted(Storage):
    """Lets another run do something just before the first write of ``best.json``."""

    others: list[Callable[[], None]] = dataclasses.field(default_factory=list)

    def write(self, relative: str, content: bytes) -> None:
        if relative == BEST_FILE and self.others:
            self.others.pop()()
        super().write(relative, content)


def test_a_run_that_is_late_does_not_hide_another_run_s_better_policy(
    store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    ours, theirs = publish_policy(store, run="run-a"), publish_policy(store, run="run-b")

    def overtake() -> None:
        write_scores(store.storage, {theirs: 930.0})
        point_to_best(store.storage)

    late = _Interrupted(
        store.storage.root, store.storage.filesystem, store.storage.path, [overtake]
    )
    write_scores(late, {ours: 910.0})
    point_to_best(late)
    assert store.best_ref() == theirs
