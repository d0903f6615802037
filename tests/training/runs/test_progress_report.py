from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from tests.training.results import result
from training.evaluation.progress import read_progress
from training.recipe import Recipe
from training.runs import progress_report
from training.runs.progress_report import ProgressReport
from training.store import background, retrying
from training.store.background import StorageQueue
from training.store.storage import Storage
from training.trials.trial_table import TrialTable


def record(report: ProgressReport, iteration: int, trial: str = "t-0", **fields: Any) -> None:
    of: Any = trial  # a trial's text is its name
    report.on_trial_result(0, [], of, result(iteration, **fields))


@pytest.fixture
def queue() -> StorageQueue:
    return StorageQueue("test")


@pytest.fixture
def report(disk_root: str, tiny_recipe: Recipe, queue: StorageQueue) -> ProgressReport:
    return ProgressReport(Storage.open(disk_root), "run-a", tiny_recipe, queue)


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


def test_trials_share_one_table(
    report: ProgressReport, disk_root: str, queue: StorageQueue
) -> None:
    record(report, 1, "t-1")
    record(report, 1, "t-0")
    record(report, 2, "t-1", return_mean=math.nan)
    report.store()
    queue.finish(300)
    assert stored(disk_root) == [("t-0", 1), ("t-1", 1), ("t-1", 2)]


def write_trial_table(root: str, trial: str, iterations: int) -> None:
    table = TrialTable()
    for iteration in range(1, iterations + 1):
        table.add(result(iteration, trial_id=trial))
    Storage.open(root).write(f"runs/run-a/{trial}/progress.csv", table.encode())


def test_a_resumed_run_derives_its_table_from_its_trials_without_doubles(
    report: ProgressReport, disk_root: str, queue: StorageQueue
) -> None:
    write_trial_table(disk_root, "t-0", 3)
    write_trial_table(disk_root, "t-1", 1)
    report.read(["t-0", "t-1", "t-not-begun"])
    record(report, 2, "t-0")  # its checkpoint was of iteration 1
    report.store()
    queue.finish(300)
    assert stored(disk_root) == [("t-0", 1), ("t-0", 2), ("t-1", 1)]


def test_the_trials_tables_are_read_although_storage_fails_at_first(
    report: ProgressReport, disk_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_trial_table(disk_root, "t-0", 2)
    read, failures = Storage.read, [OSError("away"), OSError("away")]

    def fail_at_first(storage: Storage, relative: str) -> bytes:
        if failures:
            raise failures.pop()
        return read(storage, relative)

    monkeypatch.setattr(retrying, "pause_before", lambda _: 0.0)
    monkeypatch.setattr(Storage, "read", fail_at_first)
    report.read(["t-0"])
    assert [row.iteration for row in report.rows] == [1, 2]


def test_a_trial_s_table_that_cannot_be_read_is_ignored(
    report: ProgressReport, disk_root: str, caplog: pytest.LogCaptureFixture
) -> None:
    Storage.open(disk_root).write("runs/run-a/t-0/progress.csv", b"no,table\n1,2\n")
    report.read(["t-0"])
    assert "t-0/progress.csv is ignored" in caplog.text
    assert report.rows == []


def test_the_bytes_written_do_not_grow_with_the_square_of_the_iterations(
    report: ProgressReport, queue: StorageQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At one iteration a second, on a clock of its own."""
    clock, written = [0.0], list[int]()
    monkeypatch.setattr(progress_report, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(Storage, "write", lambda _, name, content: written.append(len(content)))
    totals = []
    for iteration in range(1, 4001):
        clock[0] += 1.0
        record(report, iteration)
        queue.finish(300)
        if iteration in (2000, 4000):
            totals.append(sum(written))
    assert totals[1] < 3 * totals[0]


def test_storage_that_refuses_does_not_stop_training(
    report: ProgressReport, queue: StorageQueue, monkeypatch: pytest.MonkeyPatch, disk_root: str
) -> None:
    write, refusals = Storage.write, [OSError("away"), OSError("away")]

    def refuse_at_first(storage: Storage, relative: str, content: bytes) -> None:
        if refusals:
            raise refusals.pop()
        write(storage, relative, content)

    monkeypatch.setattr(background, "pause_before", lambda _: 0.0)
    monkeypatch.setattr(Storage, "write", refuse_at_first)
    record(report, 1)
    queue.finish(300)
    assert stored(disk_root) == [("t-0", 1)]
