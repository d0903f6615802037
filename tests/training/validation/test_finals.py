"""The result of a run, chosen among policies that drive as these tests say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.conftest import PublishPolicy
from training.environment.seeds import VALIDATION_SEEDS
from training.policy.published import PublishedPolicy
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore
from training.store.validation_scores import Validation, write_validations
from training.validation import finals
from training.validation.finals import Finals, Result

TRACKS = 2
"""That every policy drives; finalists drive five times as many."""

Choose = Callable[..., Result | None]


@pytest.fixture
def choose(ray_cluster: None, store: PolicyStore, monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Choose the result of run-a, whose policies score (on the first tracks, on later ones)."""

    def choose(
        scores: dict[int, tuple[float, float]], *, limit_s: float = 300.0, tracks: int = TRACKS
    ) -> Result | None:
        def drive_tracks(published: PublishedPolicy, seeds: Sequence[int]) -> dict[int, float]:
            first, later = scores[published.manifest.iteration]
            return {seed: first if seed in VALIDATION_SEEDS[:TRACKS] else later for seed in seeds}

        monkeypatch.setattr(finals, "drive_tracks", drive_tracks)
        return Finals(store.storage, "run-a", tracks=tracks).result(
            ["trial-1"], {}, limit_s=limit_s
        )

    return choose


def publish(store: PolicyStore, publish_policy: PublishPolicy, count: int) -> list[PolicyRef]:
    return [publish_policy(store, iteration=number) for number in range(1, count + 1)]


def test_the_best_over_more_tracks_is_the_result_and_not_the_last(
    store: PolicyStore, publish_policy: PublishPolicy, choose: Choose
) -> None:
    refs = publish(store, publish_policy, 3)
    result = choose({1: (0.0, 0.0), 2: (100.0, 100.0), 3: (110.0, 50.0)})
    assert result is not None
    assert (result.ref, result.manifest.iteration) == (refs[1], 2)
    assert (result.validation.mean, result.validation.episodes) == (100.0, 5 * TRACKS)
    assert store.best_ref() == refs[1]
    means = {ref: each.mean for ref, each in store.listing().validations.items()}
    assert means == {refs[0]: 0.0, refs[1]: 100.0, refs[2]: 62.0}


def test_a_lucky_policy_that_was_no_finalist_at_first_is_driven_too(
    store: PolicyStore, publish_policy: PublishPolicy, choose: Choose
) -> None:
    refs = publish(store, publish_policy, 8)
    scores = {number: (100.0 + number, 0.0) for number in range(3, 9)}
    result = choose({1: (10.0, 10.0), 2: (60.0, 60.0)} | scores)
    assert result is not None
    assert result.ref == refs[1]
    validations = store.listing().validations
    assert all(validations[ref].episodes == 5 * TRACKS for ref in refs[1:])
    assert validations[refs[0]].episodes == TRACKS


def test_other_trials_policies_are_not_the_result(
    store: PolicyStore, publish_policy: PublishPolicy, choose: Choose
) -> None:
    ours = publish_policy(store, iteration=1)
    before = publish_policy(store, iteration=2, trial="of-before-a-restart")
    write_validations(store.storage, "run-a", {before.version: Validation(scores={1: 900.0})})
    result = choose({1: (10.0, 10.0)})
    assert result is not None
    assert result.ref == ours
    assert store.best_ref() == before


def test_without_time_what_was_validated_before_decides(
    store: PolicyStore, publish_policy: PublishPolicy, choose: Choose
) -> None:
    refs = publish(store, publish_policy, 3)
    known = {refs[0].version: 30.0, refs[1].version: 20.0}
    write_validations(
        store.storage,
        "run-a",
        {version: Validation(scores={1: score}) for version, score in known.items()},
    )
    result = choose(dict.fromkeys((1, 2, 3), (90.0, 90.0)), limit_s=0.0)
    assert result is not None
    assert result.ref == refs[0]


def test_nothing_to_choose_from_is_no_result(
    store: PolicyStore, publish_policy: PublishPolicy, choose: Choose
) -> None:
    assert choose({}) is None
    publish(store, publish_policy, 1)
    assert choose({1: (1.0, 1.0)}, tracks=0) is None
    assert store.best_ref() is None


def test_a_policy_that_cannot_be_driven_is_left_out(
    store: PolicyStore, publish_policy: PublishPolicy, choose: Choose
) -> None:
    refs = publish(store, publish_policy, 3)
    # Of the second one the tests say nothing: driving it raises KeyError.
    result = choose({1: (10.0, 10.0), 3: (5.0, 5.0)})
    assert result is not None
    assert result.ref == refs[0]
    assert refs[1] not in store.listing().validations
