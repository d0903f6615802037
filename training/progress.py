"""The table of a run's progress: one row per trial and iteration, with unscaled returns."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any

from training.environment import Pipeline

# RLlib's own columns; scaled, and all that a trial's table has which another project trained.
_RLLIB_RETURNS = "env_runners/episode_return_"


class ProgressError(Exception):
    """A progress table that cannot be read; the message says what is missing or wrong."""


@dataclass(frozen=True)
class ProgressRow:
    """One iteration of one trial. Returns and times are NaN while they are not known."""

    trial: str
    iteration: int
    phase: str
    """``explore`` or ``stabilize``; empty where a table does not tell."""
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
    """Read a run's aggregate table, or a trial's own ``progress.csv`` as Tune writes it.

    A row that is still being written (the last one, cut short) is left out.

    Raises:
        ProgressError: It is not such a table, or it has no rows.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ProgressError(f"it is not UTF-8 text: {error}") from error
    # Its end of line is what completes a row.
    whole = text[: text.rfind("\n") + 1]
    try:
        return _read_rows(csv.DictReader(io.StringIO(whole)))
    except csv.Error as error:
        raise ProgressError(f"it is not CSV: {error}") from error


def _read_rows(reader: csv.DictReader[str]) -> list[ProgressRow]:
    columns = reader.fieldnames or []
    ours = all(name in columns for name in COLUMNS)
    if not ours and "training_iteration" not in columns:
        raise ProgressError(
            f"it has neither the columns of a run's table ({', '.join(COLUMNS)}) "
            "nor training_iteration, as a trial's table has"
        )
    rows: list[ProgressRow] = []
    for number, record in enumerate(reader, start=2):
        if None in record.values():
            continue
        try:
            rows.append(_from_run(record) if ours else _from_trial(record))
        except (ValueError, OverflowError, KeyError) as error:
            raise ProgressError(f"line {number} cannot be read: {error}") from error
    if not rows:
        raise ProgressError("it has no rows yet")
    return rows


def _number(record: Mapping[str, Any], name: str) -> float:
    text = record.get(name) or ""
    number = float(text) if text else math.nan
    if abs(number) > _LARGEST:
        raise ValueError(f"{name} is {text}, which cannot be")
    return number


def _from_run(record: Mapping[str, Any]) -> ProgressRow:
    return ProgressRow(
        trial=record["trial"],
        iteration=int(_number(record, "iteration")),
        phase=record["phase"],
        env_steps=int(_number(record, "env_steps")),
        **{name: _number(record, name) for name in COLUMNS[4:]},
    )


def _from_trial(record: Mapping[str, Any]) -> ProgressRow:
    returns = {
        name: _number(record, name)
        if name in record
        else _number(record, f"{_RLLIB_RETURNS}{name.removeprefix('return_')}")
        / Pipeline().reward_scale
        for name in ("return_min", "return_mean", "return_max")
    }
    steps = _number(record, "num_env_steps_sampled_lifetime")
    return ProgressRow(
        trial=record.get("trial_id") or "",
        iteration=int(_number(record, "training_iteration")),
        phase=record.get("phase") or "",
        env_steps=0 if math.isnan(steps) else int(steps),
        **returns,
        lr=_number(record, "lr"),
        entropy_coeff=_number(record, "entropy_coeff"),
        clip_param=_number(record, "clip_param"),
        seconds=_number(record, "time_total_s"),
    )


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
    """The last iteration of the exploring phase, once a stabilizing one was seen."""
    stabilizing = [row.iteration for row in rows if row.phase == "stabilize"]
    return min(stabilizing) - 1 if stabilizing else None
