from __future__ import annotations

import csv
import io
import math
from dataclasses import astuple
from typing import Any

import pytest

from training.evaluation.progress import (
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
    rows = [row(1), row(2, trial="trial-2", phase="finetune"), row(3, return_mean=1 / 3)]
    assert read_progress(write_progress(rows)) == rows


def test_unknown_numbers_are_empty_and_read_as_unknown() -> None:
    rows = [row(1, return_min=NAN, return_mean=NAN, return_max=NAN, seconds=NAN), row(2)]
    table = write_progress(rows)
    assert b"nan" not in table.lower()
    assert same(read_progress(table), rows)


def test_a_name_with_a_comma_survives() -> None:
    rows = [row(trial='a, "quoted" trial')]
    assert read_progress(write_progress(rows)) == rows


def test_a_trials_own_table_is_read() -> None:
    record = {"return_min": -35.0, "return_mean": 122.5, "return_max": 800.0}
    columns = (*TUNE_COLUMNS, *record)
    (read,) = read_progress(tune_table(tune_record(7) | record, columns=columns))
    assert (read.trial, read.iteration, read.phase) == ("1a2b3_00000", 7, "explore")
    assert (read.env_steps, read.seconds) == (7 * 4096, 7 * 30.5)
    assert (read.lr, read.entropy_coeff, read.clip_param) == (2e-4, 0.037, 0.2)
    # Beside them the table has RLlib's columns, whose returns are scaled.
    assert (read.return_min, read.return_mean, read.return_max) == (-35, 122.5, 800)


@pytest.mark.parametrize(
    ("prefix", "steps"),
    [
        ("env_runners/episode_return_", "num_env_steps_sampled_lifetime"),
        ("env_runners/episode_return_", "env_runners/num_env_steps_sampled_lifetime"),
        ("env_runners/episode_reward_", "num_env_steps_sampled"),
        ("episode_reward_", "timesteps_total"),
    ],
)
def test_a_table_of_another_project_is_read_without_a_scale(prefix: str, steps: str) -> None:
    columns = ("training_iteration", steps, f"{prefix}max", f"{prefix}min", f"{prefix}mean")
    table = ",".join(columns) + "\n7,28000,21.5,-3.5,12.25\n"
    (read,) = read_progress(table.encode())
    assert (read.iteration, read.env_steps) == (7, 28000)
    assert (read.return_min, read.return_mean, read.return_max) == (-3.5, 12.25, 21.5)
    assert (read.trial, read.phase) == ("", "")
    assert math.isnan(read.lr)
    assert math.isnan(read.seconds)


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
    assert third.return_mean == 12.25


TABLES = [
    pytest.param(write_progress([row(1), row(2)]), id="run"),
    pytest.param(tune_table(tune_record(1), tune_record(2)), id="trial"),
]


@pytest.mark.parametrize("table", TABLES)
def test_a_row_that_is_still_being_written_is_left_out(
    table: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = read_progress(table)
    begin = table.index(b"\n", table.index(b"\n") + 1) + 1
    last_field = table.rindex(b",") + 1
    assert all(read_progress(table[:cut]) == [first] for cut in range(begin, last_field))
    assert read_progress(table[: len(table.rstrip())]) == [first, second]
    assert not caplog.records


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_table_that_another_program_saved_is_the_same(
    table: bytes, line_end: str, mark: str
) -> None:
    saved = mark + line_end.join(table.decode().splitlines())
    assert read_progress(saved.encode()) == read_progress(table)
    assert read_progress((saved + line_end * 2).encode()) == read_progress(table)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_excel_saved_where_decimals_have_a_comma(table: bytes) -> None:
    saved = table.decode().replace(",", ";").replace(".", ",")
    assert read_progress(f"\ufeff{saved}".encode()) == read_progress(table)


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        (b"", "training_iteration"),
        (b"{}", "training_iteration"),
        (b"\0\0\0", "training_iteration"),
        (b"time/iterations,rollout/ep_rew_mean\n1,2\n", "training_iteration"),
        (b"training_iteration,loss\n1,2\n", "episode_return_mean"),
        (b"iteration,return_max\n1,2\n", "return_mean"),
    ],
)
def test_a_column_that_a_table_lacks_is_named(content: bytes, missing: str) -> None:
    with pytest.raises(ProgressError, match=missing):
        read_progress(content)


@pytest.mark.parametrize("content", [write_progress([]), tune_table(), b"iteration,return_mean\n1"])
def test_a_table_without_rows_is_refused(content: bytes) -> None:
    with pytest.raises(ProgressError, match="no rows yet"):
        read_progress(content)


def test_a_table_that_is_no_text_is_refused() -> None:
    with pytest.raises(ProgressError, match="UTF-8"):
        read_progress(b"training_iteration\n\xff\n")


def test_a_table_that_is_no_csv_is_refused() -> None:
    with pytest.raises(ProgressError, match="CSV"):
        read_progress(b"training_iteration,return_mean\n" + b"1" * 200_000)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ({"return_mean": "inf"}, "return_mean is inf"),
        ({"return_min": "-inf"}, "return_min is -inf"),
        ({"return_max": "1" * 30}, "return_max is 1111"),
        ({"iteration": ""}, "iteration is ''"),
        ({"iteration": "nan"}, "iteration is 'nan'"),
        ({"iteration": "1.5"}, "iteration is '1.5'"),
        ({"iteration": "two"}, "iteration is 'two'"),
        ({"env_steps": "inf"}, "env_steps is inf"),
        ({"lr": "fast"}, "lr is 'fast'"),
        ({"seconds": "1,1"}, "columns"),
        ({"seconds": None}, "columns"),
    ],
)
def test_a_row_that_cannot_be_read_is_skipped_and_reported(
    bad: dict[str, str | None], problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, _, third = whole = [row(1), row(2), row(3)]
    lines = write_progress(whole).decode().splitlines()
    fields: dict[str, str | None] = dict(zip(COLUMNS, lines[2].split(","), strict=True))
    lines[2] = ",".join(field for field in (fields | bad).values() if field is not None)
    assert read_progress("\n".join(lines).encode()) == [first, third]
    (report,) = caplog.messages
    assert "line 3" in report
    assert problem in report
    with pytest.raises(ProgressError, match="line 2"):
        read_progress(f"{lines[0]}\n{lines[2]}\n".encode())


def test_the_switch_is_the_last_exploring_iteration() -> None:
    rows = [row(1), row(2), row(3, phase="finetune"), row(4, phase="finetune")]
    assert switch_iteration(rows) == 2
    assert switch_iteration(reversed(rows)) == 2


def test_a_table_of_an_earlier_version_names_the_phase_as_now() -> None:
    table = b"iteration,phase,return_mean\n1,explore,1\n2,stabilize,2\n"
    assert [row.phase for row in read_progress(table)] == ["explore", "finetune"]


@pytest.mark.parametrize("phase", ["explore", ""])
def test_there_is_no_switch_before_finetuning(phase: str) -> None:
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
