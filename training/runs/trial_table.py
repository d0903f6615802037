"""Each trial's own ``progress.csv``: every value of every result, a row per iteration.

Tune's logger appends to what it finds: after a resume the iterations since the checkpoint would
stand there twice, and what it had not copied to storage yet would be missing.
"""

from __future__ import annotations

import csv
import io
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT, TRAINING_ITERATION
from ray.tune.utils import flatten_dict

from training.recipe import Recipe
from training.runs.growing_file import GrowingFile
from training.store.layout import PROGRESS_FILE, run_folder
from training.store.retrying import STORAGE_PATIENCE_S
from training.store.storage import Storage

logger = logging.getLogger(__name__)

WRITE_INTERVAL_S = 10.0
"""How often a table is written while no checkpoint depends on it."""


def checkpoint_follows(result: Mapping[str, Any], recipe: Recipe) -> bool:
    """Whether Tune takes a checkpoint after this result.

    Rows are in storage before the checkpoint is, where storage takes them within seconds: whoever
    goes on from it finds those before.
    """
    iteration = int(result[TRAINING_ITERATION])
    return bool(
        iteration % recipe.checkpoint_every == 0
        or iteration >= recipe.max_iters
        or result.get("done")
        or result.get(SHOULD_CHECKPOINT)
    )


class TrialTable:
    """The rows of one trial, encoded as they come."""

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self._columns: list[str] = []
        self._lines: dict[int, str] = {}
        self._rows: dict[int, Mapping[str, Any]] = {}
        for row in rows:
            self.add(row)

    @classmethod
    def read(cls, content: bytes) -> TrialTable:
        """A table that was written before; a row cut short or without an iteration is left out."""
        text = content.decode(errors="replace")
        reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
        return cls(
            row
            for row in reader
            if None not in row.values() and (row.get(TRAINING_ITERATION) or "").isdigit()
        )

    @property
    def iterations(self) -> list[int]:
        """The rows' iterations, in their order."""
        return sorted(self._rows)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row in the place of the one of its iteration and of all later ones."""
        iteration = int(row[TRAINING_ITERATION])
        for later in [known for known in self._rows if known >= iteration]:
            del self._rows[later]
            self._lines.pop(later, None)
        self._rows[iteration] = row
        new = [name for name in row if name not in self._columns]
        if new:
            self._columns += new
            self._lines.clear()

    def encode(self) -> bytes:
        """The table as a CSV document."""
        for iteration, row in self._rows.items():
            if iteration not in self._lines:
                self._lines[iteration] = _line(row.get(name, "") for name in self._columns)
        return (
            _line(self._columns) + "".join(self._lines[number] for number in self.iterations)
        ).encode()


class TrialTables(Callback):  # type: ignore[misc]
    """Keeps the trials' tables in storage."""

    def __init__(self, storage: Storage, run: str, recipe: Recipe, *, resume: bool) -> None:
        self._storage = storage
        self._run = run
        self._recipe = recipe
        self._resume = resume
        self._tables: dict[str, TrialTable] = {}
        self._files: dict[str, GrowingFile] = {}
        self._unput: set[str] = set()
        self._put_at: dict[str, float] = {}

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        """Add a row, and have the table stored where it is time."""
        del iteration, trials
        name = trial.trial_id
        if name not in self._tables:
            self._files[name] = GrowingFile(self._storage, self._name(name))
            found = self._files[name].read() if self._resume else None
            self._tables[name] = TrialTable.read(found or b"")
        plain = {key: value for key, value in result.items() if key != "config"}
        self._tables[name].add(flatten_dict(plain, delimiter="/"))
        self._unput.add(name)
        now = checkpoint_follows(result, self._recipe)
        if now or time.monotonic() - self._put_at.get(name, 0.0) > WRITE_INTERVAL_S:
            self._put(name)
        if now:
            self._files[name].wait_briefly()

    def on_trial_save(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """A checkpoint may have come to storage just after these rows did not."""
        del iteration, trials
        if trial.trial_id in self._files:
            self._files[trial.trial_id].wait_briefly()

    def on_experiment_end(self, trials: list[Trial], **_: Any) -> None:
        """Store what has not been stored."""
        del trials
        for name in sorted(self._unput):
            self._put(name)
        for file in self._files.values():
            file.wait_briefly()

    def finish(self, *, for_s: float = STORAGE_PATIENCE_S) -> None:
        """Store what is still to be; raises OSError when storage refuses a table for so long."""
        for name in sorted(self._unput):
            self._put(name)
        for file in self._files.values():
            file.finish(for_s=for_s)

    def _name(self, trial: str) -> str:
        return f"{run_folder(self._run)}/{trial}/{PROGRESS_FILE}"

    def _put(self, trial: str) -> None:
        self._files[trial].put(self._tables[trial].encode())
        self._put_at[trial] = time.monotonic()
        self._unput.discard(trial)


def _line(values: Iterable[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()
