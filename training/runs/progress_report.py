"""While training runs: one line per iteration for people, and the run's ``progress.csv``."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from ray.tune import Callback
from ray.tune.experiment import Trial

from training.evaluation.progress import ProgressError, ProgressRow, read_progress, write_progress
from training.recipe import Recipe
from training.store.background import StorageQueue
from training.store.layout import PROGRESS_FILE, progress_file, run_folder
from training.store.retrying import retry
from training.store.storage import Storage
from training.trials.divergence import DIVERGED

logger = logging.getLogger(__name__)

_LEAST_PAUSE_S: Final = 1.0
"""Between two times that the table is written."""
_BYTES_PER_S: Final = 20_000
"""On average, however long the table is."""


class ProgressReport(Callback):  # type: ignore[misc]
    """Prints the progress of all trials of a run, and stores a table of it.

    The table is derived: each trial stores the rows up to its newest checkpoint itself.
    """

    def __init__(self, storage: Storage, run: str, recipe: Recipe, queue: StorageQueue) -> None:
        """Begin with an empty table.

        Args:
            storage: The storage root.
            run: The run's name.
            recipe: Says how many iterations there are.
            queue: Writes the table.
        """
        self._storage = storage
        self._run = run
        self._queue = queue
        self._recipe = recipe
        self._rows: dict[tuple[str, int], ProgressRow] = {}
        self._next_write_at = 0.0

    def read(self, trials: Iterable[str]) -> None:
        """Read the tables of trials that were trained before, with retries.

        Raises:
            OSError: Storage failed for too long.
        """
        for trial in trials:
            name = f"{run_folder(self._run)}/{trial}/{PROGRESS_FILE}"
            table = retry(partial(self._read, name), f"reading {name}")
            if table is None:
                continue
            try:
                rows = read_progress(table)
            except ProgressError as error:
                logger.warning("%s is ignored: %s", name, error)
                continue
            for row in rows:
                self._rows[trial, row.iteration] = row

    def _read(self, name: str) -> bytes | None:
        try:
            return self._storage.read(name)
        except FileNotFoundError:
            return None

    @property
    def rows(self) -> list[ProgressRow]:
        """Every row so far, by trial and iteration."""
        return [self._rows[key] for key in sorted(self._rows)]

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        """Record a row, print its line, and have the table written."""
        del iteration, trials
        row = ProgressRow(
            trial=str(trial),
            iteration=int(result["training_iteration"]),
            phase=result["phase"],
            env_steps=int(result["num_env_steps_sampled_lifetime"]),
            return_min=float(result["return_min"]),
            return_mean=float(result["return_mean"]),
            return_max=float(result["return_max"]),
            lr=float(result["lr"]),
            entropy_coeff=float(result["entropy_coeff"]),
            clip_param=float(result["clip_param"]),
            seconds=float(result["time_total_s"]),
        )
        # A trial that was restored repeats the iterations since its checkpoint.
        for key in [key for key in self._rows if key[0] == row.trial and key[1] >= row.iteration]:
            del self._rows[key]
        self._rows[row.trial, row.iteration] = row
        print(self._line(row, float(result["time_this_iter_s"])), flush=True)
        if DIVERGED in result:
            print(f"{row.trial}  {result[DIVERGED]}; the trial is stopped", flush=True)
        if time.monotonic() >= self._next_write_at:
            self.store()

    def store(self) -> None:
        """Have the whole table written."""
        table = write_progress(self.rows)
        name = progress_file(self._run)
        self._queue.submit(name, partial(self._storage.write, name, table))
        pause_s = max(_LEAST_PAUSE_S, len(table) / _BYTES_PER_S)
        self._next_write_at = time.monotonic() + pause_s

    def _line(self, row: ProgressRow, seconds: float) -> str:
        previous = self._rows.get((row.trial, row.iteration - 1))
        steps = row.env_steps - (previous.env_steps if previous else 0)
        left = (self._recipe.max_iters - row.iteration) * seconds
        return (
            f"{row.trial}  iteration {row.iteration:4d}/{self._recipe.max_iters}  {row.phase:9s}  "
            f"return {row.return_mean:7.1f} ({row.return_min:.1f} to {row.return_max:.1f})  "
            f"{steps / seconds:6.0f} steps/s  {_duration(left)} left"
        )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s"
