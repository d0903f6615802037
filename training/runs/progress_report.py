"""While training runs: one line per iteration for people, and the run's aggregate table."""

from __future__ import annotations

import logging
import time
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from training.evaluation.progress import ProgressError, ProgressRow, read_progress, write_progress
from training.recipe import Recipe
from training.rllib.divergence import DIVERGED
from training.runs.growing_file import GrowingFile
from training.runs.trial_table import WRITE_INTERVAL_S, checkpoint_follows
from training.store.layout import progress_file
from training.store.retrying import STORAGE_PATIENCE_S
from training.store.storage import Storage

logger = logging.getLogger(__name__)


class ProgressReport(Callback):  # type: ignore[misc]
    """Prints and stores the progress of all trials of a run."""

    def __init__(self, storage: Storage, run: str, recipe: Recipe, *, resume: bool) -> None:
        self._storage = storage
        self._file = GrowingFile(storage, progress_file(run))
        self._resume = resume
        self._recipe = recipe
        self._rows: dict[tuple[str, int], ProgressRow] = {}
        self._put_at = 0.0

    def setup(self, **_: Any) -> None:
        """Read the table of the run that is resumed; raises OSError when storage keeps failing."""
        if not self._resume:
            return
        if (table := self._file.read()) is None:
            return
        try:
            rows = read_progress(table)
        except ProgressError as error:
            logger.warning("%s is started anew: %s", self._file.name, error)
            return
        self._rows = {(row.trial, row.iteration): row for row in rows}

    @property
    def rows(self) -> list[ProgressRow]:
        """Every row so far, by trial and iteration."""
        return [self._rows[key] for key in sorted(self._rows)]

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        """Record a row, print its line, and have the table stored."""
        del iteration, trials
        row = ProgressRow(
            trial=trial.trial_id,
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
        # A resumed trial repeats the iterations since its checkpoint; the repeated rows hold.
        for key in [key for key in self._rows if key[0] == row.trial and key[1] >= row.iteration]:
            del self._rows[key]
        self._rows[row.trial, row.iteration] = row
        print(self._line(row, float(result["time_this_iter_s"])), flush=True)
        if DIVERGED in result:
            print(f"{row.trial}  {result[DIVERGED]}; the trial is stopped", flush=True)
        self._store(now=checkpoint_follows(result, self._recipe))

    def on_trial_save(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """A checkpoint may have come to storage just after these rows did not."""
        del iteration, trials, trial
        self._file.wait_briefly()

    def on_experiment_end(self, trials: list[Trial], **_: Any) -> None:
        """Store the whole table."""
        del trials
        self._store(now=True)

    def finish(self, *, for_s: float = STORAGE_PATIENCE_S) -> None:
        """Store the whole table; raises OSError when storage refuses it for so long."""
        if self._rows:
            self._file.put(write_progress(self.rows))
            self._file.finish(for_s=for_s)

    def _line(self, row: ProgressRow, seconds: float) -> str:
        previous = self._rows.get((row.trial, row.iteration - 1))
        steps = row.env_steps - (previous.env_steps if previous else 0)
        left = (self._recipe.max_iters - row.iteration) * seconds
        return (
            f"{row.trial}  iteration {row.iteration:4d}/{self._recipe.max_iters}  {row.phase:9s}  "
            f"return {row.return_mean:7.1f} ({row.return_min:.1f} to {row.return_max:.1f})  "
            f"{steps / seconds:6.0f} steps/s  {_duration(left)} left"
        )

    def _store(self, *, now: bool = False) -> None:
        lately = time.monotonic() - self._put_at < WRITE_INTERVAL_S
        if not self._rows or (lately and not now and not self._storage.is_local):
            return
        self._file.put(write_progress(self.rows))
        self._put_at = time.monotonic()
        if now:
            self._file.wait_briefly()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s"
