"""The job's command line, and real small runs of it."""

from __future__ import annotations

import csv
import errno
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.running import TINY, run_train
from training.evaluation.progress import read_progress
from training.runs.conclusion import conclude
from training.runs.publishing import PublishingCallback
from training.runs.run import Run
from training.runs.tuning import Outcome, TrialsFailedError
from training.store.background import StorageQueue
from training.store.policies import PolicyStore
from training.store.storage import Storage
from training.store.validation_scores import best_first
from training.train import main, parse

pytestmark = pytest.mark.long

FOUR_ITERATIONS = [
    *("--run-name", "a", *TINY),
    *("--max-iters", "4", "--finetune-at", "2", "--checkpoint-every", "1"),
    *("--validation-tracks", "1"),
]


def test_options_override_the_recipe() -> None:
    command = parse(["--recipe", "published", "--max-iters", "7", "--skip-asha", "--lr", "1e-3"])
    assert command.recipe.max_iters == 7
    assert command.recipe.lr == 1e-3
    assert command.options.skip_asha


def test_the_last_of_two_equal_options_wins() -> None:
    assert parse(["--max-iters", "1000", "--max-iters", "3"]).recipe.max_iters == 3


def test_an_unknown_recipe_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--recipe", "secret"])
    assert "'secret'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--seed", "-1"], "--seed is -1"),
        (["--num-gpus", "-1"], "--num-gpus is -1"),
        (["--max-concurrent-trials", "0"], "--max-concurrent-trials is 0"),
        (["--keep-policies", "0"], "--keep-policies is 0"),
        (["--validation-tracks", "9"], "--validation-tracks is 9"),
        (["--validation-tracks", "-1"], "--validation-tracks is -1"),
        (["--restart", "--resume", "must"], "contradict"),
        (["--lr", "1e-3"], "--lr is searched"),
        (["--run-name", "../x", "--skip-asha"], "run name '../x'"),
        (["--max-iters", "0"], "max_iters is 0"),
        (["--minibatch-size", "512", "--train-batch-size-per-learner", "256"], "512 is larger"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(
    options: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refusal:
        main(["--results-dir", str(tmp_path / "none"), *options])
    # tyro draws a frame around its messages and breaks their lines.
    said = f"{refusal.value}{capsys.readouterr().err}"
    assert named in " ".join(said.replace("│", " ").split())
    assert not (tmp_path / "none").exists()


def test_a_file_that_is_not_in_the_root_is_not_laid_at_its_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = str(tmp_path / "session" / "trial.json")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", beside)

    monkeypatch.setattr("training.train.connect", lambda: None)
    monkeypatch.setattr("training.train.wait_for_cluster", lambda _: (2.0, 0.0))
    monkeypatch.setattr("training.train.tune_trials", full)
    with pytest.raises(SystemExit) as ended:
        main(["--results-dir", str(tmp_path / "root"), "--run-name", "a", *TINY])
    said = str(ended.value)
    assert said.startswith("python -m training.train: [Errno 28] No space left on device: ")
    assert beside in said
    assert "not in the storage root" in said


def test_told_to_end_it_waits_for_nothing_that_hangs(tmp_path: Path) -> None:
    program = """
import atexit, signal, sys, time
from training import train

atexit.register(time.sleep, 1e6)
train.train = lambda _: print("saved") or signal.SIGTERM
train.main(sys.argv[1:])
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, "--results-dir", str(tmp_path), *TINY],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (128 + signal.SIGTERM, "saved\n"), ended.stderr


def test_a_run_whose_trials_all_failed_says_why(tmp_path: Path) -> None:
    run = Run(Storage.open(str(tmp_path)), "a")
    outcome = Outcome(hyperparameters={}, failures={"t": "no driver"}, interrupted_by=None)
    publishing = PublishingCallback(
        run.storage, run.name, "published", StorageQueue("test"), keep_checkpoints=1
    )
    with pytest.raises(TrialsFailedError, match="no driver"):
        conclude(run, outcome, [], publishing, validation_tracks=8, validations={})


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        environment = {"RAY_ADDRESS": address}
        done = run_train(tmp_path, *TINY, log=tmp_path / "log", environment=environment)
    assert done.process.returncode == 1
    assert f"there is no Ray cluster at RAY_ADDRESS='{address}'" in done.output


@pytest.fixture(scope="module")
def finished(joining: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of four iterations with the switch after two; its root and what it printed."""
    root = tmp_path_factory.mktemp("root")
    log = root.with_name("log")
    done = run_train(root, *FOUR_ITERATIONS, log=log, environment=joining)
    assert done.process.returncode == 0
    return root, done.output


def test_a_run_leaves_its_tables_config_and_policies(finished: tuple[Path, str]) -> None:
    root, _ = finished
    run = root / "runs" / "a"
    rows = read_progress((run / "progress.csv").read_bytes())
    assert [row.iteration for row in rows] == [1, 2, 3, 4]
    assert [row.phase for row in rows] == ["explore", "explore", "finetune", "finetune"]
    assert [row.entropy_coeff for row in rows] == [0.037, 0.037, 1e-3, 1e-3]
    trial = rows[0].trial
    with (run / trial / "progress.csv").open() as file:
        trial_rows = list(csv.DictReader(file))
    assert [row["training_iteration"] for row in trial_rows] == ["1", "2", "3", "4"]
    assert json.loads((run / "best_config.json").read_text())["trial"] == trial
    checkpoints = [p for p in (run / trial).iterdir() if p.name.startswith("checkpoint_")]
    assert 3 <= len(checkpoints) <= 4, "the newest three are kept, and the best one"
    manifests = PolicyStore.open(str(root)).listing().policies
    assert [manifest.iteration for manifest in manifests] == [4, 3, 2, 1]


def test_a_run_s_result_is_its_best_policy_by_validation(finished: tuple[Path, str]) -> None:
    root, printed = finished
    store = PolicyStore.open(str(root))
    listing = store.listing()
    best = best_first(listing.validations)[0]
    assert store.latest_ref() == store.best_ref() == best
    result = json.loads((root / "runs" / "a" / "best_config.json").read_text())
    validation = listing.validations[best]
    assert (result["policy"], result["validation_score"], result["validation_episodes"]) == (
        best.version,
        validation.mean,
        validation.episodes,
    )
    assert f"policy {best.version}" in printed
    assert f"score {validation.mean:.1f} over {validation.episodes} tracks" in printed


def test_a_run_prints_its_progress_and_what_to_do_next(finished: tuple[Path, str]) -> None:
    root, printed = finished
    assert sum("steps/s" in line for line in printed.splitlines()) == 4
    assert "result: policy" in printed
    assert f"python -m training.evaluate --checkpoint {root}" in printed
    assert f"CARRACING_STORAGE={root} python -m app.local" in printed


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--max-iters", "9"], "max_iters was 4 and is now 9"),
        ([*FOUR_ITERATIONS, "--resume", "never"], "--resume auto"),
    ],
    ids=["with other settings", "where it must not be there"],
)
def test_a_run_of_that_name_is_not_touched(
    finished: tuple[Path, str], options: list[str], named: str
) -> None:
    root, _ = finished
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit, match=named):
        main(["--results-dir", str(root), "--run-name", "a", *TINY, *options])
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before


SEARCH = [
    *("--recipe", "tiny", "--run-name", "s", "--num-samples", "2", "--num-gpus", "0"),
    *("--max-iters", "2", "--checkpoint-every", "1", "--keep-policies", "1"),
    *("--simulator", "stock", "--validation-tracks", "1"),
]


@pytest.fixture(scope="module")
def searched(joining: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a search of two trials, of which the newest policy alone is kept."""
    root = tmp_path_factory.mktemp("searched")
    log = root.with_name("search")
    done = run_train(root, *SEARCH, log=log, environment=joining, tiny_recipe=True)
    assert done.process.returncode == 0
    return root


def test_a_search_tries_other_values_in_each_trial(searched: Path) -> None:
    rows = read_progress((searched / "runs/s/progress.csv").read_bytes())
    assert [row.iteration for row in rows] == [1, 2, 1, 2]
    assert len({row.lr for row in rows if row.phase == "explore"}) == 2
    best = json.loads((searched / "runs/s/best_config.json").read_text())
    assert best["trial"] in {row.trial for row in rows}


def test_of_a_search_s_policies_the_newest_of_each_trial_and_the_best_are_kept(
    searched: Path,
) -> None:
    store = PolicyStore.open(str(searched))
    result = json.loads((searched / "runs/s/best_config.json").read_text())
    assert store.newest().manifest.version == result["policy"]
    assert store.newest().manifest.trial == result["trial"]
    kept = store.listing().policies
    newest = [policy for policy in kept if policy.iteration == 2]
    assert len({policy.trial for policy in newest}) == 2
    best = store.best_ref()
    assert best is not None
    others = {policy.version for policy in kept if policy not in newest}
    assert others <= {result["policy"], best.version}


def test_a_finished_search_is_not_trained_again(
    searched: Path, joining: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    again = run_train(searched, *SEARCH, log=log, environment=joining, tiny_recipe=True)
    assert again.process.returncode == 0
    assert "resuming run s" in again.output
    assert again.iterations() == []
