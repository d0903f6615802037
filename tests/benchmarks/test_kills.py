from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.kills import Watch, kill, plan, victims, was_inside
from benchmarks.processes import usage


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

    begun = tmp_path / "t-0" / "checkpoint_000002"
    threading.Timer(0.05, begun.mkdir).start()
    assert watch.wait("checkpoint", lambda: True) == begun
    assert was_inside("checkpoint", begun)


def test_victims_are_found_by_name_and_killed() -> None:
    with subprocess.Popen(["ray::DrivingPPO.train()", "300"], executable="/bin/sleep") as child:
        while not usage(child.pid)[child.pid].name.startswith("ray::"):
            time.sleep(0.01)
        assert victims(os.getpid(), "trial") == [child.pid]
        assert child.pid in victims(os.getpid(), "whole cluster")
        assert victims(os.getpid(), "driver") == [os.getpid()]
        with pytest.raises(LookupError, match="ray::SingleAgentEnvRunner"):
            victims(os.getpid(), "env runner")
        kill([child.pid])
        assert child.wait() == -signal.SIGKILL
    kill([child.pid])
