from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.preemption.killed_training import RUN, Command
from benchmarks.preemption.run_ending import Ending, end, gaps
from tests.conftest import PublishPolicy
from training.evaluation.progress import ProgressRow, write_progress
from training.store.layout import progress_file, run_folder
from training.store.policies import PolicyStore

WELL = Ending(8.0, 143, aggregate=(0, 0), own=(0, 0), saved=True)


@pytest.mark.parametrize(
    ("iterations", "found"),
    [([1, 2, 3], (0, 0)), ([1, 3, 3], (1, 1)), ([2, 3, 6], (3, 0)), ([], (0, 0))],
)
def test_missing_and_doubled_rows(iterations: list[int], found: tuple[int, int]) -> None:
    assert gaps(iterations) == found


@pytest.mark.parametrize(
    ("ending", "named"),
    [
        (replace(WELL, aggregate=(1, 0)), "of the run"),
        (replace(WELL, own=(0, 1)), "of the trial"),
        (replace(WELL, seconds=31.0), "SIGTERM took 31.0 s"),
        (replace(WELL, seconds=math.nan), "SIGTERM took"),
        (replace(WELL, status=0), "status 0"),
        (replace(WELL, saved=False), "did not save"),
    ],
)
def test_a_promise_that_is_broken_is_named(ending: Ending, named: str) -> None:
    assert WELL.broken_promises() == []
    (fault,) = ending.broken_promises()
    assert named in fault


def row(iteration: int) -> ProgressRow:
    unknown = dict.fromkeys(("return_min", "return_mean", "return_max", "seconds"), math.nan)
    return ProgressRow(
        "trial-1", iteration, "explore", 0, lr=0.1, entropy_coeff=0.1, clip_param=0.1, **unknown
    )


@pytest.mark.parametrize(
    ("published", "own", "expected"),
    [
        (3, [1, 2, 3], replace(WELL, seconds=0.0)),
        (2, [1, 3, 3], replace(WELL, seconds=0.0, own=(1, 1), saved=False)),
    ],
)
def test_a_run_is_told_to_end_and_its_storage_is_looked_at(
    tmp_path: Path,
    publish_policy: PublishPolicy,
    published: int,
    own: Sequence[int],
    expected: Ending,
) -> None:
    store = PolicyStore.open(str(tmp_path))
    publish_policy(store, iteration=published)
    store.storage.write(progress_file(RUN), write_progress(map(row, (1, 2, 3))))
    lines = "".join(f"{iteration}\n" for iteration in own)
    store.storage.write(
        f"{run_folder(RUN)}/trial-1/progress.csv", f"training_iteration\n{lines}".encode()
    )
    program = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("trial: iteration   1/100000", flush=True)
time.sleep(60)
"""
    command = Command([sys.executable, "-c", program], tmp_path / "log")
    try:
        assert command.wait_for(1)
        ending = end(command, store.storage)
    finally:
        command.end()
    assert replace(ending, seconds=0.0) == expected
