from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from tests.training.results import result
from training.evaluation.progress import read_progress
from training.recipe import Recipe
from training.runs import growing_file
from training.runs.progress_report import ProgressReport
from training.store import retrying
from training.store.storage import Storage


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long is waited does not depend on how busy the machine is."""
    monkeypatch.setattr(growing_file, "_WRITE_S", 300.0)
    monkeypatch.setattr(growing_file, "_AGAIN_S", 300.0)


def record(report: ProgressReport, iteration: int, trial: str = "t-0", **fields: Any) -> None:
    report.on_trial_result(0, [], SimpleNamespace(trial_id=trial), result(iteration, **fields))


@pytest.fixture
def report(disk_root: str, tiny_recipe: Recipe) -> ProgressReport:
    return ProgressReport(Storage.open(disk_root), "run-a", tiny_recipe, resume=False)


def stored(root: str) -> list[tuple[str, int]]:
    rows = read_progress(Storage.open(root).read("runs/run-a/progress.csv"))
    return [(row.trial, row.iteration) for row in rows]


def test_one_readable_line_per_iteration(
    report: ProgressReport, capsys: pytest.CaptureFixture[str]
) -> None:
    record(report, 1)
    record(report, 2)
    first, second = capsys.readouterr().out.splitlines()
    assert "iteration    2/4" in second
    assert "explore" in second
    assert "22.0 (-10.0 to 90.0)" in second
    assert "20 steps/s" in second
    assert "1 min 40 s left" in second
    assert "iteration    1/4" in first


def test_trials_share_one_table(report: ProgressReport, disk_root: str) -> None:
    record(report, 1, "t-1")
    record(report, 1, "t-0")
    record(report, 2, "t-1", return_mean=math.nan)
    report.on_experiment_end([])
    assert stored(disk_root) == [("t-0", 1), ("t-1", 1), ("t-1", 2)]


def test_a_resumed_run_goes_on_with_its_table_without_doubles(
    report: ProgressReport, disk_root: str, tiny_recipe: Recipe
) -> None:
    for iteration in (1, 2, 3):
        record(report, iteration)
    report.on_experiment_end([])
    resumed = ProgressReport(Storage.open(disk_root), "run-a", tiny_recipe, resume=True)
    resumed.setup()
    record(resumed, 2)  # its checkpoint was of iteration 1
    resumed.on_experiment_end([])
    assert stored(disk_root) == [("t-0", 1), ("t-0", 2)]


def test_a_resumed_run_keeps_its_table_when_storage_fails_at_first(
    report: ProgressReport, disk_root: str, tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(report, 1)
    report.on_experiment_end([])
    read, failures = Storage.read, [OSError("away"), OSError("away")]

    def fail_at_first(storage: Storage, relative: str) -> bytes:
        if failures:
            raise failures.pop()
        return read(storage, relative)

    monkeypatch.setattr(retrying, "pause_before", lambda _: 0.0)
    monkeypatch.setattr(Storage, "read", fail_at_first)
    resumed = ProgressReport(Storage.open(disk_root), "run-a", tiny_recipe, resume=True)
    resumed.setup()
    record(resumed, 2)
    resumed.on_experiment_end([])
    assert stored(disk_root) == [("t-0", 1), ("t-0", 2)]


def test_a_table_that_cannot_be_read_is_started_anew(
    disk_root: str, tiny_recipe: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Storage.open(disk_root)
    storage.write("runs/run-a/progress.csv", b"no,table\n1,2\n")
    report = ProgressReport(storage, "run-a", tiny_recipe, resume=True)
    report.setup()
    assert "started anew" in caplog.text
    record(report, 1)
    report.on_experiment_end([])
    assert stored(disk_root) == [("t-0", 1)]


def test_a_new_run_does_not_take_up_the_table_of_one_that_died_before_its_state_was_kept(
    report: ProgressReport, disk_root: str, tiny_recipe: Recipe
) -> None:
    record(report, 1, "dead")
    report.on_experiment_end([])
    anew = ProgressReport(Storage.open(disk_root), "run-a", tiny_recipe, resume=False)
    anew.setup()
    record(anew, 1, "alive")
    anew.on_experiment_end([])
    assert stored(disk_root) == [("alive", 1)]


def test_storage_that_refuses_does_not_stop_training(
    report: ProgressReport, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("away")

    with monkeypatch.context() as away:
        away.setattr(Storage, "write", refuse)
        record(report, 1)
        report.on_experiment_end([])
    report.finish()
    assert "could not be written" in caplog.text
    assert [row.iteration for row in report.rows] == [1]
