from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.kills import Kill, Watch, kill, plan, victim, was_inside
from benchmarks.preemption import (
    Looks,
    Options,
    Recovered,
    Report,
    change_of_return,
    gaps,
    look_once,
    lost_iterations,
    summary,
    table,
)
from benchmarks.processes import usage
from tests.conftest import PublishPolicy
from training.progress import ProgressRow
from training.store import PolicyStore

ANY = Kill("whole cluster", "any")


def test_twenty_kills_are_of_every_sort() -> None:
    kills = plan(20, random.Random(1))
    assert Counter(one.moment for one in kills) == {"any": 10, "checkpoint": 5, "publishing": 5}
    assert Counter(one.target for one in kills) == {
        "whole cluster": 12,
        "driver": 3,
        "trial": 3,
        "env runner": 2,
    }
    assert kills != plan(20, random.Random(2))
    assert kills == plan(20, random.Random(1))


@pytest.mark.parametrize("count", [1, 3, 7, 20, 45])
def test_any_number_of_kills(count: int) -> None:
    kills = plan(count, random.Random(0))
    assert len(kills) == count
    if count >= 7:
        assert {one.moment for one in kills} == {"any", "checkpoint", "publishing"}


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        (7, [8, 9], 0),
        (7, [7, 8], 1),
        (8, [7, 8, 9], 2),
        (7, [8, 7, 8], 2),  # one was on its way when the trial was killed
        (7, [], 0),
    ],
)
def test_iterations_that_are_trained_again(before: int, after: list[int], lost: int) -> None:
    assert lost_iterations(before, after) == lost


@pytest.mark.parametrize(
    ("iterations", "found"),
    [([1, 2, 3], (0, 0)), ([1, 3, 3], (1, 1)), ([2, 3, 6], (3, 0)), ([], (0, 0))],
)
def test_missing_and_doubled_rows(iterations: list[int], found: tuple[int, int]) -> None:
    assert gaps(iterations) == found


def row(iteration: int, mean: float) -> ProgressRow:
    nan = math.nan
    return ProgressRow("t", iteration, "explore", 0, nan, mean, nan, nan, nan, nan, nan)


def test_returns_around_a_kill_are_compared() -> None:
    rows = [row(i, 10.0 * i) for i in range(1, 9)]
    assert change_of_return(rows, 4) == pytest.approx(60.0 - 30.0)
    assert change_of_return([row(1, math.nan), row(2, 1.0)], 1) is None


def test_the_noise_of_a_mean() -> None:
    assert summary([]) == (0.0, 0.0)
    assert summary([3.0]) == (3.0, math.inf)
    assert summary([1.0, 3.0]) == pytest.approx((2.0, 1.0))


def kept() -> Report:
    return Report(
        recovered=[Recovered(ANY, True, 2, 10.0), Recovered(ANY, True, 0, 12.0)],
        looks=Looks(100, 200),
        changes=[-3.0, 5.0],
        notice_s=8.0,
        status=143,
        saved=True,
    )


def test_promises_that_are_kept() -> None:
    assert kept().broken_promises() == []
    assert "| resumed | 2 of 2 |" in table(kept())
    assert "| whole cluster | at any moment | 2 | – | 2 | 2 | 11.0 |" in table(kept())


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("recovered", [Recovered(ANY, True)], "0 of 1 resumed"),
        ("recovered", [Recovered(ANY, True, 3)], "3 iterations lost"),
        ("aggregate", (1, 0), "of the run"),
        ("own", (0, 1), "of the trial"),
        ("looks", Looks(1, 1, ["x"]), "1 broken looks"),
        ("changes", [-10.0, -11.0], "returns fell by 10.5"),
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


@pytest.mark.parametrize("options", [{"kills": 0}, {"longest_s": 0.0}])
def test_what_says_nothing_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        Options(**options)  # type: ignore[arg-type]


def test_a_reader_finds_what_is_broken(tmp_path: Path, publish_policy: PublishPolicy) -> None:
    store = PolicyStore.open(str(tmp_path))
    looks = Looks()
    look_once(tmp_path, looks)
    assert looks == Looks(), "there is nothing yet"
    refs = [publish_policy(store, iteration=number) for number in (1, 2)]
    for _ in range(2):
        look_once(tmp_path, looks)
    assert (looks.looks, looks.policies, looks.broken) == (2, 4, [])
    store.storage.write(f"{refs[0].folder}/policy.safetensors", b"x")
    for _ in range(2):
        look_once(tmp_path, looks)
    assert [fault.startswith(refs[0].version) for fault in looks.broken] == [True]
    store.storage.write(f"{refs[1].folder}/policy.safetensors", b"x")
    look_once(tmp_path, looks)
    assert "no usable policy" in looks.broken[-1]


def test_a_half_written_policy_and_checkpoint_are_seen(tmp_path: Path) -> None:
    old = tmp_path / "policies" / "v1"
    old.mkdir(parents=True)
    left = tmp_path / "t-0" / "checkpoint_000001"
    left.mkdir(parents=True)
    (left / "state.pkl.1.tmp").write_bytes(b"")
    watch = Watch(tmp_path)
    assert watch.wait("publishing", iter([True, False]).__next__) is None
    assert watch.wait("checkpoint", iter([True, False]).__next__) is None
    new = tmp_path / "policies" / "v2"
    new.mkdir()
    assert watch.wait("publishing", lambda: True) == new
    assert was_inside("publishing", new)
    (new / "manifest.json").write_text("{}")
    assert not was_inside("publishing", new)

    def write() -> None:
        (left / "deep").mkdir()
        (left / "deep" / "state.pkl.2.tmp").write_bytes(b"")

    threading.Timer(0.05, write).start()
    assert watch.wait("checkpoint", lambda: True) == left
    assert was_inside("checkpoint", left)


def test_victims_are_found_by_name_and_killed() -> None:
    with subprocess.Popen(["ray::DrivingPPO.train()", "300"], executable="/bin/sleep") as child:
        while not usage(child.pid)[child.pid].name.startswith("ray::"):
            time.sleep(0.01)
        assert victim(os.getpid(), "trial") == child.pid
        with pytest.raises(LookupError, match="ray::SingleAgentEnvRunner"):
            victim(os.getpid(), "env runner")
        assert victim(child.pid, "driver") == victim(child.pid, "whole cluster") == child.pid
        kill(child.pid, "trial")
        assert child.wait() == -signal.SIGKILL
