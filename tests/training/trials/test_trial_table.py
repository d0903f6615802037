from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import pytest

from tests.training.results import result
from training.evaluation.progress import read_progress
from training.trials.trial_table import TrialTable


def table_of(*results: Mapping[str, Any]) -> TrialTable:
    table = TrialTable()
    for each in results:
        table.add(each)
    return table


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def numbers(content: bytes) -> list[str]:
    return [row["training_iteration"] for row in rows(content)]


def test_a_row_takes_the_place_of_its_iteration_and_of_the_later_ones() -> None:
    table = table_of(*({"training_iteration": n, "loss": n / 2} for n in (1, 2, 3, 4)))
    assert numbers(table.encode()) == ["1", "2", "3", "4"]
    table.add({"training_iteration": 3, "loss": 9.0})
    assert numbers(table.encode()) == ["1", "2", "3"]
    assert rows(table.encode())[-1]["loss"] == "9.0"
    assert table.iterations == [1, 2, 3]


def test_columns_that_come_later_are_empty_before() -> None:
    table = table_of({"training_iteration": 1, "loss": 0.5})
    table.encode()
    table.add({"loss": 0.25, "kl": 0.1, "training_iteration": 2})
    assert rows(table.encode()) == [
        {"training_iteration": "1", "loss": "0.5", "kl": ""},
        {"training_iteration": "2", "loss": "0.25", "kl": "0.1"},
    ]


def test_a_table_is_read_as_it_was_written() -> None:
    table = table_of({"training_iteration": 1, "note": 'a "b", c'}, {"training_iteration": 2})
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


def test_every_plain_value_of_a_result_has_a_column() -> None:
    table = table_of(
        result(1, config={"lr": 1}, learners={"kl": 0.5}, trial_id="t-0"),
    )
    (row,) = rows(table.encode())
    assert row["learners/kl"] == "0.5"
    assert "config" not in row
    (read,) = read_progress(table.encode())
    assert (read.trial, read.iteration, read.return_mean) == ("t-0", 1, 21.0)


def test_later_rows_are_dropped_when_a_trial_is_restored() -> None:
    table = table_of(*(result(iteration) for iteration in (1, 2, 3)))
    table.drop_after(2)
    assert numbers(table.encode()) == ["1", "2"]
    table.drop_after(5)
    assert table.iterations == [1, 2]
