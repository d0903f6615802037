from __future__ import annotations

import math

import pytest

from benchmarks import preemption
from benchmarks.killed_training import Looks
from benchmarks.kills import Kill
from benchmarks.preemption import (
    Options,
    Recovered,
    Report,
    around,
    changes_of_score,
    gaps,
    resumption,
    summary,
    table,
)
from tests.conftest import PublishPolicy
from training.layout import PolicyRef
from training.policy import Policy
from training.rollout import drive
from training.store import PolicyStore

ANY = Kill("whole cluster", "any")


@pytest.mark.parametrize(
    ("before", "after", "lost", "restored"),
    [
        (7, [8, 9], 0, 7),
        (7, [7, 8], 1, 6),
        (8, [7, 8, 9], 2, 6),
        (7, [8, 7, 8], 2, 6),  # one was on its way when the trial was killed
        (10, [11, 9], 3, 8),
        (7, [], 0, 7),
    ],
)
def test_iterations_that_are_trained_again(
    before: int, after: list[int], lost: int, restored: int
) -> None:
    assert resumption(before, after) == (lost, restored)


@pytest.mark.parametrize(
    ("iterations", "found"),
    [([1, 2, 3], (0, 0)), ([1, 3, 3], (1, 1)), ([2, 3, 6], (3, 0)), ([], (0, 0))],
)
def test_missing_and_doubled_rows(iterations: list[int], found: tuple[int, int]) -> None:
    assert gaps(iterations) == found


def test_the_policies_around_a_resume() -> None:
    assert around([2, 4, 6, 8], 4) == (4, 6)
    assert around([2, 6], 5) == (2, 6)
    assert around([2, 4], 4) is None
    assert around([6], 4) is None


def test_policies_around_a_kill_drive_the_same_tracks(
    store: PolicyStore, publish_policy: PublishPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preemption, "_TRACKS", range(1))
    for iteration in (2, 4):
        publish_policy(store, iteration=iteration)
    resumed, given_up = Recovered(ANY, True, 1, restored=2), Recovered(ANY, True, restored=2)
    (change,) = changes_of_score(store, [resumed, given_up])
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


def kept() -> Report:
    return Report(
        recovered=[Recovered(ANY, True, 2, seconds=10.0), Recovered(ANY, True, 0, seconds=12.0)],
        looks=Looks(100, 200),
        changes=[-3.0, 5.0],
        notice_s=8.0,
        status=143,
        saved=True,
    )


def test_promises_that_are_kept() -> None:
    assert kept().broken_promises() == []
    assert "| resumed | 2 of 2 |" in table(kept())
    assert "were repeated | 0 |" in table(kept())
    assert "on 8 tracks | +1.0 ± 4.0 |" in table(kept())
    assert "| whole cluster | at any moment | 2 | – | 2 | 2 | 11.0 |" in table(kept())


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("recovered", [Recovered(ANY, True)], "0 of 1 resumed"),
        ("recovered", [Recovered(ANY, True, 3)], "3 iterations lost"),
        ("aggregate", (1, 0), "of the run"),
        ("own", (0, 1), "of the trial"),
        ("looks", Looks(1, 1, ["x"]), "1 broken looks"),
        ("changes", [-10.0, -11.0], "policies fell: -10.5 ± 0.5"),
        ("changes", [-10.0], "not measured"),
        ("notice_s", 31.0, "SIGTERM took 31.0 s"),
        ("notice_s", math.nan, "SIGTERM took"),
        ("status", 0, "status 0"),
        ("saved", False, "did not save"),
    ],
)
def test_a_promise_that_is_broken_is_named(field: str, value: object, named: str) -> None:
    report = kept()
    setattr(report, field, value)
    (fault,) = report.broken_promises()
    assert named in fault
    table(report)


def test_starts_that_were_repeated_are_told_with_their_reasons() -> None:
    report = kept()
    report.retries = ["timed out", "no GCS", "timed out"]
    assert "were repeated | 2 × timed out; 1 × no GCS |" in table(report)


def test_nothing_is_said_of_policies_that_were_not_measured() -> None:
    report = kept()
    report.changes = []
    assert "on 8 tracks | not measured |" in table(report)


@pytest.mark.parametrize("options", [{"kills": 1}, {"longest_s": 0.0}])
def test_what_says_nothing_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be at least 2, and --longest-s above 0"):
        Options(**options)  # type: ignore[arg-type]
