from __future__ import annotations

import csv
import io
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from tests.training.results import result
from training.evaluation.progress import read_progress
from training.recipe import Recipe
from training.runs import growing_file
from training.runs.trial_table import TrialTable, TrialTables, checkpoint_follows
from training.store.storage import Storage

FILE = "runs/run-a/t-0/progress.csv"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long is waited does not depend on how busy the machine is."""
    monkeypatch.setattr(growing_file, "_WRITE_S", 300.0)
    monkeypatch.setattr(growing_file, "_AGAIN_S", 300.0)


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def numbers(content: bytes) -> list[str]:
    return [row["training_iteration"] for row in rows(content)]


def test_a_row_takes_the_place_of_its_iteration_and_of_the_later_ones() -> None:
    table = TrialTable({"training_iteration": n, "loss": n / 2} for n in (1, 2, 3, 4))
    assert numbers(table.encode()) == ["1", "2", "3", "4"]
    table.add({"training_iteration": 3, "loss": 9.0})
    assert numbers(table.encode()) == ["1", "2", "3"]
    assert rows(table.encode())[-1]["loss"] == "9.0"
    assert table.iterations == [1, 2, 3]


def test_columns_that_come_later_are_empty_before() -> None:
    table = TrialTable([{"training_iteration": 1, "loss": 0.5}])
    table.encode()
    table.add({"loss": 0.25, "kl": 0.1, "training_iteration": 2})
    assert rows(table.encode()) == [
        {"training_iteration": "1", "loss": "0.5", "kl": ""},
        {"training_iteration": "2", "loss": "0.25", "kl": "0.1"},
    ]


def test_a_table_is_read_as_it_was_written() -> None:
    table = TrialTable([{"training_iteration": 1, "note": 'a "b", c'}, {"training_iteration": 2}])
    assert TrialTable.read(table.encode()).encode() == table.encode()


def test_doubles_and_a_row_cut_short_are_mended_when_read() -> None:
    content = b"training_iteration,loss\n1,0.5\n2,0.4\n2,0.3\nx,1\n3,0.2\n4,0."
    table = TrialTable.read(content)
    assert [(row["training_iteration"], row["loss"]) for row in rows(table.encode())] == [
        ("1", "0.5"),
        ("2", "0.3"),
        ("3", "0.2"),
    ]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00", b"a,b\n1,2\n"])
def test_something_else_is_an_empty_table(content: bytes) -> None:
    assert TrialTable.read(content).iterations == []


def record(tables: TrialTables, iteration: int, **fields: Any) -> None:
    of = {"config": {"lr": 1}, "learners": {"kl": 0.5}, "trial_id": "t-0"}
    trial = SimpleNamespace(trial_id="t-0")
    tables.on_trial_result(0, [], trial, result(iteration, **of, **fields))


@pytest.fixture
def tables(disk_root: str, tiny_recipe: Recipe) -> TrialTables:
    return TrialTables(Storage.open(disk_root), "run-a", tiny_recipe, resume=False)


def test_every_plain_value_of_a_result_has_a_column(tables: TrialTables, disk_root: str) -> None:
    record(tables, 1)
    (row,) = rows(Storage.open(disk_root).read(FILE))
    assert row["learners/kl"] == "0.5"
    assert "config" not in row
    (read,) = read_progress(Storage.open(disk_root).read(FILE))
    assert (read.trial, read.iteration, read.return_mean) == ("t-0", 1, 21.0)


def test_a_resumed_trial_goes_on_with_its_table(
    tables: TrialTables, disk_root: str, tiny_recipe: Recipe
) -> None:
    for iteration in (1, 2, 3):
        record(tables, iteration)
    resumed = TrialTables(Storage.open(disk_root), "run-a", tiny_recipe, resume=True)
    record(resumed, 2)
    assert numbers(Storage.open(disk_root).read(FILE)) == ["1", "2"]


def test_a_table_is_in_storage_before_a_checkpoint_is(disk_root: str, tiny_recipe: Recipe) -> None:
    seldom = Recipe(checkpoint_every=5)
    tables = TrialTables(Storage.open(disk_root), "run-a", seldom, resume=False)
    for iteration in range(1, 10):
        record(tables, iteration)
    assert len(numbers(Storage.open(disk_root).read(FILE))) >= 5
    tables.on_experiment_end([])
    assert len(numbers(Storage.open(disk_root).read(FILE))) == 9


@pytest.mark.parametrize(
    ("fields", "follows"),
    [
        ({"training_iteration": 5}, True),
        ({"training_iteration": 6}, False),
        ({"training_iteration": 12}, True),
        ({"training_iteration": 6, "done": True}, True),
        ({"training_iteration": 6, "should_checkpoint": True}, True),
    ],
)
def test_when_a_checkpoint_follows(fields: dict[str, Any], follows: bool) -> None:
    assert checkpoint_follows(fields, Recipe(checkpoint_every=5, max_iters=12)) is follows


def test_storage_that_refuses_does_not_stop_training(
    tables: TrialTables, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("away")

    with monkeypatch.context() as away, caplog.at_level(logging.WARNING):
        away.setattr(Storage, "write", refuse)
        record(tables, 1)
        tables.on_experiment_end([])
    assert "could not be written" in caplog.text
    tables.finish()
    tables.finish()
