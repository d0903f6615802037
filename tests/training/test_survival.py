"""A real run, on a Ray of its own, that loses processes, is told to end, and finds damage.

One run goes through it all, for starting Ray takes most of the time.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.kills import kill, victims
from training.progress import read_progress
from training.store import PolicyStore
from training.trial_table import TrialTable

pytestmark = pytest.mark.long

_WAIT_S = 300.0


class Training:
    """The command as it runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._log = root.with_name("log")
        self._log.write_text("")
        self._begun = self._log.open("a")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "training.train", "--results-dir", str(root)),
                *("--run-name", "s", "--skip-asha", "--num-gpus", "0", "--checkpoint-every", "2"),
                *("--num-env-runners", "1", "--num-envs-per-env-runner", "1"),
                *("--train-batch-size-per-learner", "64", "--minibatch-size", "64"),
                *("--num-epochs", "1", "--max-iters", "5000", "--finetune-at", "2"),
            ],
            env=os.environ | {"RAY_ADDRESS": "local"},
            stdout=self._begun,
            stderr=subprocess.STDOUT,
        )

    def said(self) -> str:
        return self._log.read_text()

    def iterations(self) -> list[int]:
        return [int(found) for found in re.findall(r"iteration +(\d+)/", self.said())]

    def wait_for_more(self, count: int) -> list[int]:
        """Wait until it has told of so many more iterations; those."""
        told = len(self.iterations())
        deadline = time.monotonic() + _WAIT_S
        while len(self.iterations()) < told + count:
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)
        return self.iterations()[told:]

    def end(self) -> None:
        if self.process.poll() is None:
            kill(victims(self.process.pid, "whole cluster"))
        self.process.wait()
        self._begun.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("survival") / "root"


@pytest.fixture(scope="module")
def told_to_end(root: Path) -> Iterator[Training]:
    """It lost an env runner and the trial's own process, and was told to end."""
    training = Training(root)
    try:
        training.wait_for_more(3)
        kill(victims(training.process.pid, "env runner"))
        training.wait_for_more(2)
        kill(victims(training.process.pid, "trial"))
        training.wait_for_more(3)
        training.process.terminate()
        training.process.wait(_WAIT_S)
        yield training
    finally:
        training.end()


def trial(root: Path) -> Path:
    (policies, folder) = sorted(
        (path for path in (root / "runs" / "s").iterdir() if path.is_dir()),
        key=lambda path: path.name != "policies",
    )
    assert policies.name == "policies"
    return folder


def table(root: Path) -> list[int]:
    """The iterations of the run's table, which are those of the trial's own."""
    iterations = [
        row.iteration for row in read_progress((root / "runs" / "s" / "progress.csv").read_bytes())
    ]
    own = TrialTable.read((trial(root) / "progress.csv").read_bytes()).iterations
    assert own == [i for i in iterations if i <= own[-1]]
    return iterations


def test_a_lost_env_runner_does_not_set_the_run_back_and_a_lost_trial_by_one_interval(
    told_to_end: Training,
) -> None:
    steps = zip(told_to_end.iterations(), told_to_end.iterations()[1:], strict=False)
    backwards = [before - after + 1 for before, after in steps if after <= before]
    assert len(backwards) <= 1
    assert all(lost <= 2 for lost in backwards)


def test_told_to_end_it_saves_publishes_and_says_how_to_go_on(told_to_end: Training) -> None:
    assert told_to_end.process.returncode == 128 + signal.SIGTERM, told_to_end.said()
    last = table(told_to_end.root)
    assert last == list(range(1, last[-1] + 1))
    assert f"saved after iteration {last[-1]}" in told_to_end.said()
    assert "--run-name s with the same options continues it" in told_to_end.said()
    newest = PolicyStore.open(str(told_to_end.root)).newest()
    assert newest.manifest.iteration == last[-1]


@pytest.fixture(scope="module")
def resumed(told_to_end: Training) -> Iterator[Training]:
    """Its newest checkpoint was damaged, it was begun again, and killed with its whole cluster."""
    root = told_to_end.root
    newest = max(trial(root).glob("checkpoint_*"))
    (newest / "algorithm_state.pkl").write_bytes(b"half")
    training = Training(root)
    try:
        training.wait_for_more(3)
        kill(victims(training.process.pid, "whole cluster"))
        training.process.wait()
        yield training
    finally:
        training.end()


def test_from_a_damaged_checkpoint_it_goes_on_from_the_one_before_and_says_so(
    resumed: Training, told_to_end: Training
) -> None:
    assert "is refused: its algorithm_state.pkl has 4 bytes" in resumed.said()
    # The copy of the best one, where that was taken after the same iteration.
    assert re.search(r"goes on from (best_)?checkpoint_\d{6}, taken after", resumed.said())
    first = resumed.iterations()[0]
    assert first > 1
    rows = table(resumed.root)
    assert rows == list(range(1, rows[-1] + 1))


def test_where_every_checkpoint_is_damaged_it_ends_with_a_message(resumed: Training) -> None:
    before = (resumed.root / "runs" / "s" / "progress.csv").read_bytes()
    for checkpoint in trial(resumed.root).glob("*checkpoint_*"):
        (checkpoint / "files.json").write_text("{")
    training = Training(resumed.root)
    try:
        training.process.wait(_WAIT_S)
        assert training.process.returncode == 1
        assert "is whole (" in training.said()
        assert "--restart begins the run again" in training.said()
        assert "Traceback" not in training.said()
        assert training.iterations() == []
        assert (resumed.root / "runs" / "s" / "progress.csv").read_bytes() == before
    finally:
        training.end()
