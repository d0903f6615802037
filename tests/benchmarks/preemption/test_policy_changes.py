from __future__ import annotations

import pytest

from benchmarks.preemption.policy_changes import around, changes_of_score, summary
from tests.conftest import PublishPolicy
from training.evaluation.rollout import drive
from training.policy.acting import Policy
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore


def test_the_policies_around_a_resume() -> None:
    assert around([2, 4, 6, 8], 4) == (4, 6)
    assert around([2, 6], 5) == (2, 6)
    assert around([2, 4], 4) is None
    assert around([6], 4) is None


def test_policies_around_a_kill_drive_the_same_tracks(
    store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    for iteration in (2, 4):
        publish_policy(store, iteration=iteration)
    (change,) = changes_of_score(store, [2, 4], tracks=range(1))
    newest, oldest = store.listing().policies
    scores = [
        drive(
            Policy.from_published(store.fetch(PolicyRef(run=each.run, version=each.version))),
            0,
            simulator="fast",
        ).score
        for each in (newest, oldest)
    ]
    assert change == scores[0] - scores[1]


def test_the_noise_of_a_mean() -> None:
    assert summary([]) is summary([3.0]) is None
    assert summary([1.0, 3.0]) == pytest.approx((2.0, 1.0))
