"""The table of a run's progress: one row per trial and iteration, with unscaled returns."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any, Final

from training.policy.name import current_phase

logger = logging.getLogger(__name__)


class ProgressError(Exception):
    """A progress table that cannot be read; the message says what is missing or wrong."""


@dataclass(frozen=True)
class ProgressRow:
    """One iteration of one trial. Returns and times are NaN while they are not known."""

    trial: str
    iteration: int
    phase: str
    """``explore`` or ``finetune``; empty where a table does not tell."""
    env_steps: int
    """Decisions that the trial had sampled."""
    return_min: float
    """Smallest unscaled return of the latest episodes, as are the next two."""
    return_mean: float
    return_max: float
    lr: float
    """In force in this iteration, as are the next two."""
    entropy_coeff: float
    clip_param: float
    seconds: float
    """Training time of the trial so far."""


_LARGEST = 1e12
"""Far above every count and return of a real run; a plot cannot show more."""

COLUMNS = tuple(f.name for f in fields(ProgressRow))

_NAMES: Final[Mapping[str, Sequence[str]]] = {
    **{name: (name,) for name in COLUMNS},
    # Tune's names.
    "trial": ("trial", "trial_id"),
    "iteration": ("iteration", "training_iteration"),
    "seconds": ("seconds", "time_total_s"),
    # RLlib's names: those of its new API stack, then those of the old one.
    "env_steps": (
        "env_steps",
        "num_env_steps_sampled_lifetime",
        "env_runners/num_env_steps_sampled_lifetime",
        "num_env_steps_sampled",
        "timesteps_total",
    ),
    **{
        f"return_{kind}": (
            f"return_{kind}",
            f"env_runners/episode_return_{kind}",
            f"env_runners/episode_reward_{kind}",
            f"episode_reward_{kind}",
        )
        for kind in ("min", "mean", "max")
    },
}
"""The columns that a field may have, the most telling first."""

_PROBLEMS_SHOWN: Final = 3


def write_progress(rows: Iterable[ProgressRow]) -> bytes:
    """The rows as a CSV document with a header, in their order."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        values = (getattr(row, name) for name in COLUMNS)
        writer.writerow(["" if isinstance(v, float) and math.isnan(v) else v for v in values])
    return buffer.getvalue().encode()


def read_progress(content: bytes) -> list[ProgressRow]:
    """Read a run's table, a trial's ``progress.csv``, or such a table of another RLlib project.

    Returns are taken as they are in the table, since it does not state a reward scale. Rows that
    cannot be read are skipped and logged. A last line without a line end is read if it has a value
    for each column; otherwise it is still being written.

    Raises:
        ProgressError: The table lacks a column, or none of its rows can be read.
    """
    try:
        # Excel starts a file with a byte order mark.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProgressError(f"it is not UTF-8 text: {error}") from error
    # In countries with a decimal comma, Excel separates the columns by semicolons.
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.DictReader(io.StringIO(text, newline=None), delimiter=delimiter)
    try:
        columns = _choose_columns(reader.fieldnames or [])
        records = [(reader.line_num, record) for record in reader]
    except csv.Error as error:
        raise ProgressError(f"it is not CSV: {error}") from error
    if records and not text.endswith(("\n", "\r")) and None in records[-1][1].values():
        records.pop()
    if not records:
        raise ProgressError("it has no rows yet")
    rows: list[ProgressRow] = []
    problems: list[str] = []
    for line, record in records:
        try:
            rows.append(_read_row(record, columns, "." if delimiter == "," else ","))
        except ValueError as error:
            problems.append(f"line {line}: {error}")
    summary = "; ".join(problems[:_PROBLEMS_SHOWN])
    if len(problems) > _PROBLEMS_SHOWN:
        summary += f"; and {len(problems) - _PROBLEMS_SHOWN} more"
    if not rows:
        raise ProgressError(f"none of its rows can be read: {summary}")
    if problems:
        logger.warning("skipped %d of %d rows: %s", len(problems), len(records), summary)
    return rows


def _choose_columns(header: Sequence[str]) -> dict[str, str]:
    """For each field of a row the column that it is read from, where the table has one."""
    columns: dict[str, str] = {}
    for field, names in _NAMES.items():
        found = [name for name in names if name in header]
        if found:
            columns[field] = found[0]
        elif field in ("iteration", "return_mean"):
            raise ProgressError(f"it has no column {' or '.join(names)}")
    return columns


def _read_row(
    record: Mapping[str | Any, Any], columns: Mapping[str, str], decimal: str
) -> ProgressRow:
    if None in record or None in record.values():
        raise ValueError("the number of values differs from the number of columns")
    texts = {field: record[name] for field, name in columns.items()}
    numbers = {
        field: _number(columns.get(field, field), texts.get(field, "").replace(decimal, "."))
        for field in _NAMES
        if field not in ("trial", "phase")
    }
    iteration, steps = numbers.pop("iteration"), numbers.pop("env_steps")
    if not iteration.is_integer():
        raise ValueError(f"{columns['iteration']} is {texts['iteration']!r}, not a whole number")
    return ProgressRow(
        trial=texts.get("trial", ""),
        iteration=int(iteration),
        phase=str(current_phase(texts.get("phase", ""))),
        env_steps=0 if math.isnan(steps) else int(steps),
        **numbers,
    )


def _number(name: str, text: str) -> float:
    """The number, or NaN where there is no text."""
    try:
        number = float(text or math.nan)
    except ValueError:
        raise ValueError(f"{name} is {text!r}, not a number") from None
    if abs(number) > _LARGEST:
        raise ValueError(f"{name} is {text}; numbers are at most {_LARGEST:g}")
    return number


def recent_return(rows: Iterable[ProgressRow], last: int = 5) -> float:
    """Mean return over a trial's last few iterations; NaN while none is known."""
    recent = sorted(rows, key=lambda row: row.iteration)[-last:]
    known = [row.return_mean for row in recent if not math.isnan(row.return_mean)]
    return fmean(known) if known else math.nan


def best_trial(rows: Sequence[ProgressRow]) -> str:
    """The trial with the highest recent return; raises ProgressError where there are no rows."""
    if not rows:
        raise ProgressError("it has no rows yet")
    trials: dict[str, list[ProgressRow]] = {}
    for row in rows:
        trials.setdefault(row.trial, []).append(row)

    def quality(trial: str) -> float:
        recent = recent_return(trials[trial])
        return -math.inf if math.isnan(recent) else recent

    return max(trials, key=quality)


def switch_iteration(rows: Iterable[ProgressRow]) -> int | None:
    """The last iteration of phase ``explore``, once one of ``finetune`` was seen."""
    finetuning = [row.iteration for row in rows if row.phase == "finetune"]
    return min(finetuning) - 1 if finetuning else None
