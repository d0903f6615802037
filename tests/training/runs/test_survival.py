"""A real run, on a Ray of its own, that loses processes, is told to end, and finds damage.

One run goes through it all, for starting Ray takes most of the time.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from benchmarks.preemption.kills import kill, victims
from tests.training.running import Training, run_train, training
from training.evaluation.progress import ProgressRow, read_progress
from training.store.policies import PolicyStore
from training.trials.trial_table import TrialTable

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

OPTIONS = [
    *("--run-name", "s", "--skip-asha", "--num-gpus", "0", "--checkpoint-every", "2"),
    *("--num-env-runners", "1", "--num-envs-per-env-runner", "1"),
    *("--train-batch-size-per-learner", "64", "--minibatch-size", "64"),
    *("--num-epochs", "1", "--max-iters", "5000", "--finetune-at", "2"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("survival") / "root"


def begin(root: Path, name: str) -> AbstractContextManager[Training]:
    return training(root, *OPTIONS, log=root.with_name(name))


@pytest.fixture(scope="module")
def told_to_end(root: Path, joining: dict[str, str]) -> Iterator[Training]:
    """It lost an env runner and the trial's own process, and was told to end."""
    with begin(root, "told to end") as run:
        run.wait_for_more(3)
        second = run_train(root, *OPTIONS, log=root.with_name("second"), environment=joining)
        assert second.process.returncode == 1, "two processes train the same run"
        assert f"process {run.process.pid} on" in second.output
        kill(victims(run.process.pid, "env runner"))
        run.wait_for_more(2)
        kill(victims(run.process.pid, "trial"))
        run.wait_for_more(3)
        run.process.terminate()
        run.process.wait()
        yield run


def trial(root: Path) -> Path:
    (folder,) = (
        path
        for path in (root / "runs" / "s").iterdir()
        if path.is_dir() and path.name != "policies"
    )
    return folder


def table(root: Path) -> list[ProgressRow]:
    """The rows of the run's table. Neither this nor the trial's own misses one or has one twice."""
    rows = read_progress((root / "runs" / "s" / "progress.csv").read_bytes())
    own = TrialTable.read((trial(root) / "progress.csv").read_bytes()).iterations
    assert own == list(range(1, len(own) + 1))
    assert [row.iteration for row in rows] == list(range(1, len(rows) + 1))
    return rows


def test_a_lost_env_runner_does_not_set_the_run_back_and_a_lost_trial_by_one_interval(
    told_to_end: Training,
) -> None:
    steps = zip(told_to_end.iterations(), told_to_end.iterations()[1:], strict=False)
    backwards = [before - after + 1 for before, after in steps if after <= before]
    assert len(backwards) <= 1
    assert all(lost <= 2 for lost in backwards)


def test_told_to_end_it_saves_publishes_and_says_how_to_go_on(
    told_to_end: Training, root: Path
) -> None:
    assert told_to_end.process.returncode == 128 + signal.SIGTERM
    last = table(root)[-1].iteration
    assert f"newest checkpoint is of iteration {last}" in told_to_end.output
    assert "--run-name s with the same options continues it" in told_to_end.output
    assert PolicyStore.open(str(root)).newest().manifest.iteration == last


@pytest.fixture(scope="module")
def resumed(told_to_end: Training, root: Path) -> Iterator[Training]:
    """Its newest checkpoint was damaged, it was begun again, and killed with its whole cluster."""
    newest = max(trial(root).glob("checkpoint_*.zip"))
    newest.write_bytes(newest.read_bytes()[:-1])
    with begin(root, "resumed") as run:
        run.wait_for_more(3)
        run.kill()
        yield run


def test_from_a_damaged_checkpoint_it_goes_on_from_the_one_before_and_says_so(
    resumed: Training, root: Path
) -> None:
    restored = re.search(r"continues after iteration (\d+); (checkpoint_\S+) is", resumed.output)
    assert restored
    assert resumed.iterations()[0] == int(restored[1]) + 1 > 1
    rows = table(root)
    assert len(rows) >= resumed.iterations()[0]


def test_it_goes_on_in_the_phase_of_its_iteration(resumed: Training, root: Path) -> None:
    rows = table(root)
    assert [row.phase for row in rows] == ["explore"] * 2 + ["finetune"] * (len(rows) - 2)
    assert [row.entropy_coeff for row in rows] == [0.037] * 2 + [1e-3] * (len(rows) - 2)
    assert [row.lr for row in rows] == pytest.approx([2e-4] * 2 + [5e-5] * (len(rows) - 2))


def test_where_every_checkpoint_is_damaged_it_ends_with_a_message(
    resumed: Training, root: Path, joining: dict[str, str]
) -> None:
    before = (root / "runs" / "s" / "progress.csv").read_bytes()
    for checkpoint in trial(root).glob("checkpoint_*"):
        checkpoint.write_bytes(b"")
    refused = run_train(root, *OPTIONS, log=root.with_name("refused"), environment=joining)
    assert refused.process.returncode == 1
    assert "--restart" in refused.output
    assert "Traceback" not in refused.output
    assert refused.iterations() == []
    assert (root / "runs" / "s" / "progress.csv").read_bytes() == before
