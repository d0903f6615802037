"""Runs that are interrupted, and the same command given again."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import LOCAL
from tests.training.running import TINY, run_train
from training.layout import PolicyRef
from training.manifest import Manifest
from training.progress import read_progress
from training.publishing import PublishingCallback
from training.recipe import LogUniform, Recipe
from training.run import Run
from training.storage import Storage
from training.store import PolicyStore
from training.train import Command, RunOptions, _train

pytestmark = pytest.mark.long


def test_a_killed_run_continues_on_the_other_side_of_the_switch(tmp_path: Path) -> None:
    options = (
        "--results-dir",
        str(tmp_path),
        "--run-name",
        "k",
        *TINY,
        "--max-iters",
        "6",
        "--finetune-at",
        "2",
        "--checkpoint-every",
        "1",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "training.train", *options],
        env=os.environ | {"RAY_ADDRESS": "local"},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    table = tmp_path / "runs" / "k" / "progress.csv"
    deadline = time.monotonic() + 200
    while not (table.exists() and len(table.read_text().splitlines()) > 3):
        assert time.monotonic() < deadline, "it did not get to iteration 3"
        assert process.poll() is None
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    resumed = run_train(tmp_path, *options[2:], "--resume", "must")
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming run k" in resumed.stdout
    assert "iteration    1/6" not in resumed.stdout
    rows = read_progress(table.read_bytes())
    assert [row.iteration for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row.entropy_coeff for row in rows] == [0.037, 0.037, 1e-3, 1e-3, 1e-3, 1e-3]
    assert [row.lr for row in rows] == pytest.approx([2e-4, 2e-4, 5e-5, 5e-5, 5e-5, 5e-5])


class KilledError(Exception):
    """Where a run's process ends."""


@pytest.fixture(scope="module")
def killed_at_its_end(
    ray_cluster: None, tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Command]:
    """A search of two trials, killed while storage refused both trials' last policies."""
    root = tmp_path_factory.mktemp("killed") / "root"
    search = {"lr": LogUniform(1e-4, 5e-4)}
    recipe = dataclasses.replace(tiny_recipe, max_iters=2, num_samples=2, search=search)
    command = Command(RunOptions(run_name="k"), recipe)
    publish = PolicyStore.publish

    def refuse_last(store: PolicyStore, manifest: Manifest, weights: bytes) -> PolicyRef:
        if manifest.iteration == 2:
            raise OSError("away")
        return publish(store, manifest, weights)

    def killed(*_: Any) -> None:
        raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PolicyStore, "publish", refuse_last)
        patch.setattr(PublishingCallback, "finish", killed)
        with pytest.raises(KilledError):
            _train(command, Run(Storage.open(str(root)), "k"), LOCAL, trials=2, resume=False)
    assert {m.iteration for m in PolicyStore.open(str(root)).listing().policies} == {1}
    return root, command


def call_unfinished(state: Path) -> None:
    """Make a state of Tune's one that was noted before the trials had ended."""
    document = json.loads(state.read_text())
    for number, (trial, metadata) in enumerate(document["trial_data"]):
        assert json.loads(trial)["status"] == "TERMINATED"
        known = json.loads(metadata)
        known["last_result"].pop("done")
        document["trial_data"][number] = [
            json.dumps(json.loads(trial) | {"status": "RUNNING"}),
            json.dumps(known),
        ]
    state.write_text(json.dumps(document))


# No episode ends in so few steps, and halving takes a percentile of what is not known.
@pytest.mark.filterwarnings("ignore:All-NaN slice encountered")
@pytest.mark.parametrize("noted", ["as ended", "as running"])
def test_trials_that_had_ended_train_no_more_and_their_last_policies_are_published(
    killed_at_its_end: tuple[Path, Command], tmp_path: Path, noted: str
) -> None:
    killed, command = killed_at_its_end
    root = tmp_path / "root"
    shutil.copytree(killed, root)
    run = Run(Storage.open(str(root)), "k")
    if noted == "as running":
        call_unfinished(max((root / "runs" / "k").glob("experiment_state-*.json")))
    assert _train(command, run, LOCAL, trials=2, resume=True) is None
    rows = read_progress((root / "runs" / "k" / "progress.csv").read_bytes())
    assert [row.iteration for row in rows] == [1, 2, 1, 2]
    store = PolicyStore(run.storage)
    assert sorted(m.iteration for m in store.listing().policies) == [1, 1, 2, 2]
    latest = store.newest().manifest
    best = json.loads((root / "runs" / "k" / "best_config.json").read_text())["trial"]
    assert (latest.trial, latest.iteration) == (best, 2)


def test_ctrl_c_stops_and_the_same_command_continues(tmp_path: Path) -> None:
    options = [
        *("--run-name", "c", *TINY),
        *("--max-iters", "3", "--finetune-at", "1", "--checkpoint-every", "1"),
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "training.train", "--results-dir", str(tmp_path), *options],
        env=os.environ | {"RAY_ADDRESS": "local"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if "published c-000001" in line:
                process.send_signal(signal.SIGINT)
    assert process.returncode == 130, printed
    assert "interrupted; --run-name c with the same options continues it" in printed
    assert "best trial" not in printed
    resumed = run_train(tmp_path, *options)
    assert resumed.returncode == 0, resumed.stderr
    rows = read_progress((tmp_path / "runs" / "c" / "progress.csv").read_bytes())
    assert [row.iteration for row in rows] == [1, 2, 3]
