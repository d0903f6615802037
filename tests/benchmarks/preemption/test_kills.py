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

from benchmarks.preemption.kills import Moment, Watch, kill, plan, victims, was_inside
from benchmarks.support.processes import usage
from tests.conftest import exists
from training.store.storage import Storage

WATCHED: tuple[Moment, ...] = ("publishing", "checkpoint")


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


def test_a_half_written_policy_and_checkpoint_are_seen(any_root: str) -> None:
    storage = Storage.open(any_root)

    def write(name: str) -> None:
        storage.write(f"runs/r/{name}", b"{}")

    write("policies/v1/policy.safetensors")
    write("t-0/checkpoint_000001.zip")
    watch = Watch(storage, "runs/r")
    for moment in WATCHED:
        assert watch.wait(moment, iter([True, False]).__next__) is None

    write("policies/v2/policy.safetensors")
    found = watch.wait("publishing", lambda: True)
    assert found == "runs/r/policies/v2"
    assert was_inside(storage, "publishing", found)
    write("policies/v2/manifest.json")
    assert not was_inside(storage, "publishing", found)

    threading.Timer(0.05, write, ["t-0/checkpoint_000002.zip"]).start()
    found = watch.wait("checkpoint", lambda: True)
    assert found is not None
    assert found.startswith("runs/r/t-0/checkpoint_000002.zip")
    while not exists(storage, "runs/r/t-0/checkpoint_000002.zip"):
        time.sleep(0.01)
    assert not was_inside(storage, "checkpoint", found), "it is complete by now"


def test_a_checkpoint_s_temporary_file_was_cut_short(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    path = "runs/r/t-0/checkpoint_000001.zip.0f.tmp"
    assert not was_inside(storage, "checkpoint", path), "it was renamed"
    storage.write(path, b"half")
    assert was_inside(storage, "checkpoint", path)


def test_victims_are_found_by_name_and_killed() -> None:
    with subprocess.Popen(["ray::DrivingPPO.train()", "300"], executable="/bin/sleep") as child:
        while not usage(child.pid)[child.pid].name.startswith("ray::"):
            time.sleep(0.01)
        assert victims(os.getpid(), "trial") == [child.pid]
        assert child.pid in victims(os.getpid(), "whole cluster")
        assert victims(os.getpid(), "driver") == [os.getpid()]
        with pytest.raises(LookupError, match="ray::DrivingEnvRunner"):
            victims(os.getpid(), "env runner")
        kill([child.pid])
        assert child.wait() == -signal.SIGKILL
    kill([child.pid])
