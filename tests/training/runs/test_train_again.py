"""A run that was killed at its end, and the same command given again."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import LOCAL
from tests.training.running import TINY, run_train, training
from training.evaluation.progress import read_progress
from training.policy.manifest import Manifest
from training.recipe import LogUniform, Recipe
from training.runs.run import Run
from training.store.background import StorageQueue
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore
from training.store.storage import Storage
from training.train import Command, RunOptions, _train

pytestmark = pytest.mark.long


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
    command = Command(RunOptions(run_name="k", validation_tracks=0), recipe)
    publish = PolicyStore.publish

    def refuse_last(
        store: PolicyStore, manifest: Manifest, weights: bytes, *, promote: bool
    ) -> PolicyRef:
        if manifest.iteration == 2:
            raise OSError("away")
        return publish(store, manifest, weights, promote=promote)

    def killed(*_: Any) -> None:
        raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PolicyStore, "publish", refuse_last)
        patch.setattr(StorageQueue, "finish", killed)
        with pytest.raises(KilledError):
            _train(command, Run(Storage.open(str(root)), "k"), LOCAL, trials=2, resume=False)
        # What the driver's queue still tries, it tries while storage refuses.
        copy = tmp_path_factory.mktemp("copy") / "root"
        shutil.copytree(root, copy)
    assert {m.iteration for m in PolicyStore.open(str(copy)).listing().policies} == {1}
    return copy, command


# No episode ends in so few steps.
def test_trials_that_had_ended_train_no_more_and_their_last_policies_are_published(
    killed_at_its_end: tuple[Path, Command], capsys: pytest.CaptureFixture[str]
) -> None:
    root, command = killed_at_its_end
    run = Run(Storage.open(str(root)), "k")
    names = {path.parent.name for path in root.glob("runs/k/*/progress.csv")}
    capsys.readouterr()
    assert _train(command, run, LOCAL, trials=2, resume=True) is None
    assert "steps/s" not in capsys.readouterr().out
    rows = read_progress((root / "runs" / "k" / "progress.csv").read_bytes())
    assert [row.iteration for row in rows] == [1, 2, 1, 2]
    assert {row.trial for row in rows} == names
    store = PolicyStore(run.storage)
    assert sorted(m.iteration for m in store.listing().policies) == [1, 1, 2, 2]
    latest = store.newest().manifest
    best = json.loads((root / "runs" / "k" / "best_config.json").read_text())["trial"]
    assert (latest.trial, latest.iteration) == (best, 2)


def test_sigterm_while_the_result_is_chosen_leaves_it_to_the_same_command(
    joining: dict[str, str], tmp_path: Path
) -> None:
    root, log = tmp_path / "root", tmp_path / "log"
    options = ["--run-name", "v", *TINY, "--validation-tracks", "1", "--max-iters", "1"]
    with training(root, *options, log=log, environment=joining) as running:
        running.wait_for("choosing")
        running.process.send_signal(signal.SIGTERM)
        running.process.wait()
    assert running.process.returncode == 128 + signal.SIGTERM
    assert "result: " not in running.output
    assert not (root / "runs" / "v" / "best_config.json").exists()
    resumed = run_train(root, *options, log=log, environment=joining)
    assert resumed.process.returncode == 0
    assert resumed.iterations() == []
    result = json.loads((root / "runs" / "v" / "best_config.json").read_text())
    latest = PolicyStore.open(str(root)).latest_ref()
    assert latest is not None
    assert result["policy"] == latest.version


def test_with_more_iterations_only_trials_that_the_search_kept_train_on(
    killed_at_its_end: tuple[Path, Command], tmp_path: Path
) -> None:
    ended, command = killed_at_its_end
    root = tmp_path / "root"
    shutil.copytree(ended, root)
    run = Run(Storage.open(str(root)), "k")
    trials = json.loads(run.storage.read("runs/k/trials.json"))
    kept, stopped = sorted(trials)
    trials[stopped]["stopped"] = "stopped by the search"
    run.write_json("trials.json", trials)
    longer = dataclasses.replace(command, recipe=dataclasses.replace(command.recipe, max_iters=3))
    assert _train(longer, run, LOCAL, trials=2, resume=True) is None
    rows = read_progress((root / "runs" / "k" / "progress.csv").read_bytes())
    assert {name: [row.iteration for row in rows if row.trial == name] for name in trials} == {
        kept: [1, 2, 3],
        stopped: [1, 2],
    }
