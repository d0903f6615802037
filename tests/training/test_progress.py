from __future__ import annotations

import csv
import io
import math
from dataclasses import astuple
from typing import Any

import pytest

from training.progress import (
    COLUMNS,
    ProgressError,
    ProgressRow,
    best_trial,
    read_progress,
    recent_return,
    switch_iteration,
    write_progress,
)

NAN = math.nan


def row(iteration: int = 1, **fields: Any) -> ProgressRow:
    described: dict[str, Any] = {
        "trial": "trial-1",
        "iteration": iteration,
        "phase": "explore",
        "env_steps": 4096 * iteration,
        "return_min": -31.5,
        "return_mean": 10.25 * iteration,
        "return_max": 402.125,
        "lr": 2e-4,
        "entropy_coeff": 0.037,
        "clip_param": 0.2,
        "seconds": 61.7 * iteration,
    }
    return ProgressRow(**(described | fields))


def same(read: list[ProgressRow], written: list[ProgressRow]) -> bool:
    """Equal, where one unknown number is like another."""
    return [list(map(str, astuple(r))) for r in read] == [
        list(map(str, astuple(w))) for w in written
    ]


TUNE_COLUMNS = (
    "timestamp",
    "done",
    "training_iteration",
    "trial_id",
    "time_total_s",
    "num_env_steps_sampled_lifetime",
    "env_runners/episode_return_mean",
    "env_runners/episode_return_min",
    "env_runners/episode_return_max",
    "phase",
    "config/seed",
    "lr",
    "entropy_coeff",
    "clip_param",
)


def tune_table(*records: dict[str, Any], columns: tuple[str, ...] = TUNE_COLUMNS) -> bytes:
    """A trial's progress.csv as Tune writes it; what a record lacks is left empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue().encode()


def tune_record(iteration: int = 1, *, returns: bool = True, **fields: Any) -> dict[str, Any]:
    record = {
        "timestamp": 1767225600,
        "done": False,
        "training_iteration": iteration,
        "trial_id": "1a2b3_00000",
        "time_total_s": 30.5 * iteration,
        "num_env_steps_sampled_lifetime": 4096.0 * iteration,
        "phase": "explore",
        "lr": 2e-4,
        "entropy_coeff": 0.037,
        "clip_param": 0.2,
        "config/seed": 0,
    }
    if returns:
        for kind, value in (("min", -3.5), ("mean", 12.25), ("max", 80.0)):
            record[f"env_runners/episode_return_{kind}"] = value
    return record | fields


def test_what_is_written_is_read() -> None:
    rows = [row(1), row(2, trial="trial-2", phase="stabilize"), row(3, return_mean=1 / 3)]
    assert read_progress(write_progress(rows)) == rows


def test_unknown_numbers_are_empty_and_read_as_unknown() -> None:
    rows = [row(1, return_min=NAN, return_mean=NAN, return_max=NAN, seconds=NAN), row(2)]
    table = write_progress(rows)
    assert b"nan" not in table.lower()
    assert same(read_progress(table), rows)


def test_the_table_starts_with_its_columns() -> None:
    assert write_progress([]).decode() == ",".join(COLUMNS) + "\n"


def test_a_name_with_a_comma_survives() -> None:
    rows = [row(trial='a, "quoted" trial')]
    assert read_progress(write_progress(rows)) == rows


def test_a_trials_own_table_is_read_with_unscaled_returns() -> None:
    (read,) = read_progress(tune_table(tune_record(7)))
    assert (read.trial, read.iteration, read.phase) == ("1a2b3_00000", 7, "explore")
    assert (read.env_steps, read.seconds) == (7 * 4096, 7 * 30.5)
    assert (read.lr, read.entropy_coeff, read.clip_param) == (2e-4, 0.037, 0.2)
    returns = (read.return_min, read.return_mean, read.return_max)
    assert returns == pytest.approx((-35, 122.5, 800))


def test_returns_are_unknown_until_an_episode_has_ended() -> None:
    table = tune_table(
        tune_record(1, returns=False),
        tune_record(2) | {"env_runners/episode_return_mean": "nan"},
        tune_record(3),
    )
    first, second, third = read_progress(table)
    assert math.isnan(first.return_min)
    assert math.isnan(first.return_mean)
    assert math.isnan(first.return_max)
    assert math.isnan(second.return_mean)
    assert third.return_mean == pytest.approx(122.5)


def test_a_trials_table_may_lack_all_but_the_iteration() -> None:
    columns = tuple(c for c in TUNE_COLUMNS if "return" not in c and "time_total" not in c)
    table = tune_table(tune_record(1, returns=False), columns=columns)
    (read,) = read_progress(table)
    assert (read.iteration, read.env_steps) == (1, 4096)
    assert math.isnan(read.return_mean)
    assert math.isnan(read.seconds)
    (bare,) = read_progress(b"training_iteration\n3\n")
    assert (bare.trial, bare.iteration, bare.phase, bare.env_steps) == ("", 3, "", 0)


def test_a_row_that_lacks_columns_is_left_out() -> None:
    first, second = row(1), row(2)
    table = write_progress([first, second])
    assert read_progress(table[: table.rindex(b",")]) == [first]
    assert read_progress(table[: table.rindex(b"explore") + 3]) == [first]


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(write_progress([row(1), row(2)]), id="run"),
        pytest.param(tune_table(tune_record(1), tune_record(2)), id="trial"),
    ],
)
def test_a_row_that_is_still_being_written_is_left_out(table: bytes) -> None:
    whole = read_progress(table)
    first_row_end = table.index(b"\n", table.index(b"\n") + 1) + 1
    misread = [
        table[first_row_end:cut]
        for cut in range(first_row_end, len(table))
        # Once all of a row is there, its line's end may still be missing.
        if read_progress(table[:cut]) not in (whole[:1], whole)
    ]
    assert not misread


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"a,b\n1,2\n", b"iteration,return_mean\n1,2\n", b"{}", b"\0\0\0"],
)
def test_a_table_without_usable_columns_is_refused(content: bytes) -> None:
    with pytest.raises(
        ProgressError, match=r"neither the columns of a run's table .* nor training_iteration"
    ):
        read_progress(content)


@pytest.mark.parametrize("content", [write_progress([]), tune_table()])
def test_a_table_without_rows_is_refused(content: bytes) -> None:
    with pytest.raises(ProgressError, match="no rows yet"):
        read_progress(content)


def test_a_table_that_is_no_text_is_refused() -> None:
    with pytest.raises(ProgressError, match="not UTF-8"):
        read_progress(b"training_iteration\n\xff\n")


@pytest.mark.parametrize(
    "content", [b"training_iteration\r1\r2", b"training_iteration\n" + b"1" * 200_000]
)
def test_a_table_that_is_no_csv_is_refused(content: bytes) -> None:
    with pytest.raises(ProgressError):
        read_progress(content)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"training_iteration\n1\nmany\n", 3),
        (b"training_iteration,lr\n1,fast\n", 2),
        (b"training_iteration,num_env_steps_sampled_lifetime\n1,inf\n", 2),
        (write_progress([row(1)]) + b"trial-1,two,explore,8192,,,,,,,\n", 3),
    ],
)
def test_a_row_that_cannot_be_read_is_named_by_its_line(content: bytes, line: int) -> None:
    with pytest.raises(ProgressError, match=f"line {line} cannot be read"):
        read_progress(content)


def test_the_switch_is_the_last_exploring_iteration() -> None:
    rows = [row(1), row(2), row(3, phase="stabilize"), row(4, phase="stabilize")]
    assert switch_iteration(rows) == 2
    assert switch_iteration(reversed(rows)) == 2


@pytest.mark.parametrize("phase", ["explore", ""])
def test_there_is_no_switch_before_stabilizing(phase: str) -> None:
    assert switch_iteration([row(1, phase=phase), row(2, phase=phase)]) is None


def test_the_recent_return_is_the_mean_of_the_last_five_known_ones() -> None:
    rows = [row(i, return_mean=float(i)) for i in (7, 1, 3, 2, 5, 4)]
    assert recent_return(rows) == pytest.approx((7 + 5 + 4 + 3 + 2) / 5)
    assert recent_return([*rows, row(8, return_mean=NAN)]) == pytest.approx((7 + 5 + 4 + 3) / 4)
    assert math.isnan(recent_return([row(1, return_mean=NAN)]))
    assert math.isnan(recent_return([]))


def test_the_best_trial_is_the_best_over_its_last_iterations() -> None:
    lucky = [row(i, trial="lucky", return_mean=900 if i == 1 else 10) for i in range(1, 8)]
    steady = [row(i, trial="steady", return_mean=100) for i in range(1, 8)]
    assert best_trial([*lucky, *steady]) == "steady"
    assert best_trial([*reversed(steady), *reversed(lucky)]) == "steady"


def test_unknown_returns_do_not_win() -> None:
    unknown = [row(i, trial="unknown", return_mean=NAN) for i in range(1, 4)]
    known = [row(1, trial="known", return_mean=-50), row(2, trial="known", return_mean=NAN)]
    assert best_trial([*unknown, *known]) == "known"
    assert best_trial(unknown) == "unknown"


@pytest.mark.parametrize("field", ["iteration", "return_mean"])
def test_numbers_that_cannot_be_are_refused(field: str) -> None:
    row = dict.fromkeys(COLUMNS, "1") | {field: "1" * 30}
    table = ",".join(COLUMNS) + "\n" + ",".join(row.values()) + "\n"
    with pytest.raises(ProgressError, match=f"{field} is 1111"):
        read_progress(table.encode())
