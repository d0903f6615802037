"""The trials of a run: their configurations, and which of them a search has stopped.

``trials.json`` in the run's folder holds both. The configurations are drawn once, from the run's
seed; every later start of the run takes them from there.
"""

from __future__ import annotations

import json
import logging
import math
import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pydantic
from ray.tune.experiment import Trial
from ray.tune.result import TRAINING_ITERATION
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from training.recipe import Recipe
from training.rllib.config import search_space
from training.store.background import StorageQueue
from training.store.storage import Storage, StorageError

logger = logging.getLogger(__name__)

TRIALS_FILE = "trials.json"

METRIC = "return_mean"
"""What trials are compared by: mean unshaped, unscaled return of the latest sampled episodes."""


class TrialRecord(pydantic.BaseModel):
    """What the driver knows of one trial."""

    config: dict[str, int | float]
    """The values of what the recipe searches."""
    rungs: dict[int, float | None] = {}
    """The metric at each milestone that the trial has passed; None where it was not known."""
    stopped: str | None = None
    """Why the trial ended before its last iteration, if it did."""
    has_failed: bool = False
    """Whether it ended because training diverged."""


_Records: pydantic.TypeAdapter[dict[str, TrialRecord]] = pydantic.TypeAdapter(
    dict[str, TrialRecord]
)


def milestones(recipe: Recipe) -> frozenset[int]:
    """The iterations after which asynchronous successive halving compares trials."""
    found, iteration = set(), recipe.asha.grace_period
    while iteration < recipe.max_iters:
        found.add(iteration)
        if recipe.asha.reduction_factor < 2:
            break
        iteration *= recipe.asha.reduction_factor
    return frozenset(found)


class TrialRecords:
    """The trials of a run by name, stored in ``trials.json`` after each change."""

    def __init__(
        self, trials: dict[str, TrialRecord], storage: Storage, folder: str, queue: StorageQueue
    ) -> None:
        self.trials = trials
        self._storage = storage
        self._path = f"{folder}/{TRIALS_FILE}"
        self._queue = queue

    @classmethod
    def open(
        cls,
        storage: Storage,
        folder: str,
        queue: StorageQueue,
        *,
        recipe: Recipe,
        trials: int,
        seed: int,
    ) -> TrialRecords:
        """Read the records of a run, or draw and store new ones.

        Args:
            storage: The storage root.
            folder: The run's folder below it.
            queue: Stores changes.
            recipe: Has the search ranges.
            trials: How many trials there are; a single one uses the recipe's own values.
            seed: Of the configurations.

        Raises:
            StorageError: ``trials.json`` is damaged.
            OSError: Storage failed.
        """
        try:
            content = storage.read(f"{folder}/{TRIALS_FILE}")
        except FileNotFoundError:
            records = cls(draw_trials(recipe, trials, seed), storage, folder, queue)
            records._write(records._encode())
            return records
        try:
            return cls(_Records.validate_json(content), storage, folder, queue)
        except pydantic.ValidationError as error:
            raise StorageError(
                f"{storage.root}/{folder}/{TRIALS_FILE} is damaged: {error}. Restore it, or start "
                "the run again with --restart"
            ) from error

    def stop(self, trial: str, reason: str, *, has_failed: bool = False) -> None:
        """Note that a trial has ended before its last iteration."""
        self.trials[trial].stopped = reason
        self.trials[trial].has_failed = has_failed
        self._save()

    def pass_rung(self, trial: str, milestone: int, value: float) -> None:
        """Note the metric of a trial at a milestone."""
        self.trials[trial].rungs[milestone] = value if math.isfinite(value) else None
        self._save()

    def _save(self) -> None:
        self._queue.submit(TRIALS_FILE, partial(self._write, self._encode()))

    def _write(self, content: bytes) -> None:
        self._storage.write(self._path, content)

    def _encode(self) -> bytes:
        return json.dumps(_Records.dump_python(self.trials, mode="json"), indent=1).encode()


def draw_trials(recipe: Recipe, trials: int, seed: int) -> dict[str, TrialRecord]:
    """Draw the configurations of new trials from the seed.

    Their names begin with a prefix that is new each time, as the policies of a run that was
    started again stay published under the names of earlier trials.
    """
    generator = np.random.RandomState(seed)
    space = search_space(recipe) if trials > 1 else {}
    prefix = secrets.token_hex(3)
    return {
        f"{prefix}_{number:05d}": TrialRecord(
            config={name: domain.sample(random_state=generator) for name, domain in space.items()}
        )
        for number in range(trials)
    }


class HalvingScheduler(FIFOScheduler):  # type: ignore[misc]
    """Asynchronous successive halving (ASHA) whose state is in the run's records.

    At each milestone a trial is stopped if its metric is below that of the best
    ``1 / reduction_factor`` of the trials that were there before.
    """

    def __init__(self, recipe: Recipe, records: TrialRecords) -> None:
        super().__init__()
        self._milestones = milestones(recipe)
        self._factor = recipe.asha.reduction_factor
        self._records = records

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Decide whether a trial continues."""
        del tune_controller
        if METRIC not in result:
            return str(TrialScheduler.CONTINUE)
        goes_on = self.judge(str(trial), int(result[TRAINING_ITERATION]), float(result[METRIC]))
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def judge(self, trial: str, iteration: int, value: float) -> bool:
        """Compare a trial with those before it, once per milestone.

        Args:
            trial: Its name.
            iteration: The one that it has finished.
            value: Its metric after that iteration.

        Returns:
            Whether it continues.
        """
        if iteration not in self._milestones or iteration in self._records.trials[trial].rungs:
            return True
        before = [
            record.rungs[iteration]
            for record in self._records.trials.values()
            if record.rungs.get(iteration) is not None
        ]
        self._records.pass_rung(trial, iteration, value)
        if not before:
            return True
        cutoff = float(np.percentile(np.array(before, float), (1 - 1 / self._factor) * 100))
        if not value < cutoff:
            return True
        self._records.stop(
            trial, f"stopped by the search after iteration {iteration}: {value:.1f} < {cutoff:.1f}"
        )
        return False
