from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.metrics import (
    FILM_CACHE_BYTES,
    FILM_REQUESTS,
    FILMS_RENDERED,
    FILMS_WAITING,
    OPEN_DRIVES,
    POLICY,
    POLICY_AGE,
    RELOADS,
    FilmCounts,
    Meters,
)
from app.policies.loading import LoadedPolicy
from tests.app.conftest import FakeSink
from tests.conftest import FIRST_PUBLISHED, build_policy
from training.store.layout import PolicyRef


def loaded(iteration: int) -> LoadedPolicy:
    policy = build_policy(iteration=iteration)
    ref = PolicyRef(run=policy.manifest.run, version=policy.version)
    return LoadedPolicy(policy, ref, datetime.now(UTC))


def test_only_the_policy_that_is_served_shows_one() -> None:
    sink = FakeSink()
    meters = Meters(sink)
    first, second = loaded(1), loaded(2)
    meters.serves(None)
    assert not sink.records
    for each in (first, first, second):
        meters.serves(each)
    shown = [(value, labels["iteration"]) for value, labels in sink.of(POLICY)]
    assert shown == [(1, "1"), (1, "1"), (0, "1"), (1, "2")]
    assert sink.of(POLICY)[-1][1] == {
        "version": second.policy.version,
        "source": "storage",
        "run": "run-a",
        "iteration": "2",
    }
    published = (datetime.now(UTC) - FIRST_PUBLISHED).total_seconds()
    assert sink.of(POLICY_AGE)[0][0] == pytest.approx(published - 60, abs=60)


def test_counts_of_films_become_what_was_added() -> None:
    sink = FakeSink()
    meters = Meters(sink)
    counts = FilmCounts(waiting=1, misses=1)
    meters.films(counts)
    counts.waiting, counts.rendered, counts.hits, counts.cache_bytes = 0, 1, 2, 512
    counts.joined = 3
    meters.films(counts)
    assert [value for value, _ in sink.of(FILMS_WAITING)] == [1, 0]
    assert [value for value, _ in sink.of(FILM_CACHE_BYTES)] == [0, 512]
    assert [value for value, _ in sink.of(FILMS_RENDERED)] == [1]
    asked = [(value, labels["result"]) for value, labels in sink.of(FILM_REQUESTS)]
    assert asked == [(1, "miss"), (2, "hit"), (3, "joined")]


def test_reloads_and_drives() -> None:
    sink = FakeSink()
    meters = Meters(sink)
    meters.reloaded(True)
    meters.reloaded(False)
    assert sink.of(RELOADS) == [(1, {"outcome": "ok"}), (1, {"outcome": "failed"})]
    with meters.driving("live"), meters.driving("live"), meters.driving("frames"):
        pass
    open_drives = [(labels["mode"], value) for value, labels in sink.of(OPEN_DRIVES)]
    both = [("live", 1), ("live", 2), ("frames", 1), ("frames", 0), ("live", 1), ("live", 0)]
    assert open_drives == both
