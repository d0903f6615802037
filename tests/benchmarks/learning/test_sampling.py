from __future__ import annotations

import time

import pytest

from benchmarks.learning.sampling import PARTS, Options, Stopwatch, measure, table
from tests.training.rllib.picture_env import make_picture_env


def test_every_way_of_sampling_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.rllib.config.make_env", make_picture_env)
    rounds = measure(Options(envs=2, rounds=2, fast_decisions=20, stock_decisions=10))
    assert list(rounds) == ["stock, RLlib", "stock, ours", "fast, RLlib", "fast, ours"]
    for results in rounds.values():
        assert len(results) == 2
        for result in results:
            assert tuple(result) == PARTS
            assert result["simulator"] > 0
            assert result["network"] > 0
            assert result["rest"] > 0
    lines = table(rounds).splitlines()
    assert len(lines) == 2 + len(rounds)
    assert len({line.count("|") for line in lines}) == 1


def test_a_part_inside_itself_counts_once() -> None:
    watch = Stopwatch(time.perf_counter)
    inner = watch.timed("part", lambda: time.sleep(0.01))
    outer = watch.timed("part", inner)
    start = time.perf_counter()
    outer()
    assert 0.01 <= watch.seconds["part"] <= time.perf_counter() - start
