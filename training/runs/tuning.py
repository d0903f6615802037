"""Runs a run's trials with Tune.

Tune schedules trials and restarts those that have lost a process. It knows nothing of checkpoints,
and its own state is in a temporary folder that nothing is restored from.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune import Callback
from ray.tune.error import TuneError
from ray.tune.experiment import Trial
from ray.tune.result import DONE, TRAINING_ITERATION
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator

from training.evaluation.progress import ProgressRow
from training.recipe import Recipe
from training.rllib.config import build_config
from training.rllib.resources import Resources
from training.runs.preemption import PreemptedError, Preemption
from training.runs.run import Run, RunError
from training.runs.search import HalvingScheduler, TrialRecords, milestones
from training.store.checkpoint import list_checkpoints
from training.store.retrying import STORAGE_PATIENCE_S, retry
from training.store.storage import StorageError
from training.trials.divergence import DIVERGED
from training.trials.trainable import (
    CANNOT_RESTORE,
    DRAINING,
    RESTORED,
    STORAGE_FAILURE,
    STORED,
    UNSTORED_S,
    DrivingPPO,
)
from training.trials.trial_store import TrialSettings

logger = logging.getLogger(__name__)

_MAX_FAILURES = 5
"""How often a trial is restarted without having stored a checkpoint in between."""


class TrialsFailedError(Exception):
    """Trials that failed for good; the message names them and their errors."""


@dataclass(frozen=True)
class Outcome:
    """How a run's trials ended."""

    hyperparameters: dict[str, dict[str, Any]]
    """By trial: the values of what the recipe searches."""
    failures: dict[str, str]
    """By trial: why it failed."""
    interrupted_by: signal.Signals | None
    """The signal that stopped the run, where some trial has not ended because of it."""

    def raise_failures(self) -> None:
        """Raise TrialsFailedError if a trial failed."""
        if self.failures:
            raise TrialsFailedError(
                "; ".join(f"trial {trial} failed: {why}" for trial, why in self.failures.items())
            )


class _Monitor(Callback):  # type: ignore[misc]
    """Ends the run where a trial cannot continue, and logs what trials say about checkpoints."""

    def __init__(self, run: Run, records: TrialRecords, patience_s: float) -> None:
        self.error: RunError | StorageError | None = None
        """What was raised; Tune wraps some errors in its own."""
        self._run = run
        self._records = records
        self._patience_s = patience_s
        self._stored: dict[str, int] = {}
        self._failing: set[str] = set()
        self._draining: set[str] = set()

    def on_step_begin(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        """Raise RunLockedError where another process has taken the run over."""
        del iteration, trials
        self._run.raise_if_lost()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        del iteration, trials
        name = str(trial)
        if CANNOT_RESTORE in result:
            raise self._fails(
                RunError(
                    f"trial {name} in {self._run.address} cannot continue: "
                    f"{result[CANNOT_RESTORE]}. --restart begins the run again, its published "
                    "policies stay"
                )
            )
        if RESTORED in result:
            logger.warning("trial %s %s", name, result[RESTORED])
            self._draining.discard(name)
        if STORAGE_FAILURE in result:
            self._storage_fails(name, result)
        elif name in self._failing:
            self._failing.discard(name)
            logger.warning("trial %s: its checkpoints are stored again", name)
        if DRAINING in result and name not in self._draining:
            self._draining.add(name)
            logger.warning(
                "trial %s: its node is being drained; it takes a checkpoint after each iteration, "
                "and continues on another node",
                name,
            )
        if DIVERGED in result:
            self._records.stop(name, str(result[DIVERGED]), has_failed=True)
        if result.get(STORED, 0) > self._stored.get(name, 0):
            self._stored[name] = result[STORED]
            # Failures count from one checkpoint to the next: a long run may lose many nodes.
            trial.run_metadata.num_failures = 0

    def _storage_fails(self, trial: str, result: dict[str, Any]) -> None:
        reason, seconds = result[STORAGE_FAILURE], result[UNSTORED_S]
        if seconds >= self._patience_s or result.get(DONE):
            raise self._fails(
                StorageError(
                    f"the checkpoints of trial {trial} could not be stored in "
                    f"{self._run.storage.root!r}, or not be read, for {seconds:.0f} s: {reason}. "
                    f"Its last one is of iteration {result.get(STORED, 0)}; once storage works, "
                    "the same command continues from there"
                )
            )
        self._failing.add(trial)
        logger.warning(
            "trial %s: its checkpoint has not been stored for %.0f s: %s; it trains on",
            trial,
            seconds,
            reason,
        )

    def _fails(self, error: RunError | StorageError) -> RunError | StorageError:
        self.error = error
        return error


def tune_trials(
    run: Run,
    recipe: Recipe,
    resources: Resources,
    *,
    records: TrialRecords,
    rows: Sequence[ProgressRow],
    seed: int,
    callbacks: Sequence[Callback],
    initial_weights: str | None = None,
    patience_s: float = STORAGE_PATIENCE_S,
) -> Outcome:
    """Run a run's trials until they end or a signal comes.

    Trials that have ended are not run again; the others continue from their checkpoints. At SIGTERM
    all trials that run take a checkpoint first, see :mod:`training.runs.preemption`.

    Args:
        run: The run.
        recipe: What to train with.
        resources: What a trial takes of the cluster.
        records: The run's trials.
        rows: What they have trained before.
        seed: Of environments, sampling and initial weights.
        callbacks: Are told of results.
        initial_weights: File with the weights that trials start from, relative to the storage root.
        patience_s: Seconds that storage may fail.

    Raises:
        RunError: All checkpoints of a trial are damaged.
        RunLockedError: Another process has taken the run over.
        StorageError: Storage failed for too long.
    """
    searching = len(records.trials) > 1
    scheduler: TrialScheduler = FIFOScheduler()
    if searching:
        scheduler = HalvingScheduler(recipe, records)
        # The driver may have been killed before it noted what it had decided.
        for row in rows:
            scheduler.judge(row.trial, row.iteration, row.return_mean)
    names = [
        name
        for name, record in records.trials.items()
        if record.stopped is None and _newest_iteration(run, name) < recipe.max_iters
    ]
    monitor = _Monitor(run, records, patience_s)
    errors: dict[str, str] = {}
    if names:
        settings = TrialSettings(
            storage=run.storage,
            run_folder=run.folder,
            policy=recipe.description(),
            max_iters=recipe.max_iters,
            checkpoint_every=recipe.checkpoint_every,
            milestones=milestones(recipe) if searching else frozenset(),
            initial_weights=initial_weights,
            patience_s=patience_s,
        )
        config = build_config(recipe, resources, seed=seed, searching=searching)
        preemption = Preemption()

        def name_of(trial: Trial) -> str:
            # The ids of Tune's trials end with their numbers.
            return names[int(trial.trial_id.rpartition("_")[2])]

        # Tune's own tables would be written to its temporary folder.
        os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
        try:
            with (
                preemption.listening(),
                tempfile.TemporaryDirectory(prefix="tune-", ignore_cleanup_errors=True) as folder,
            ):
                analysis = tune.run(
                    DrivingPPO.with_settings(settings),
                    name=run.name,
                    storage_path=folder,
                    config=config.to_dict(),
                    num_samples=len(names),
                    scheduler=scheduler,
                    search_alg=BasicVariantGenerator(
                        points_to_evaluate=[records.trials[name].config for name in names]
                        if searching
                        else None,
                        max_concurrent=resources.max_concurrent_trials,
                    ),
                    stop={TRAINING_ITERATION: recipe.max_iters},
                    max_failures=_MAX_FAILURES,
                    raise_on_failed_trial=False,
                    trial_name_creator=name_of,
                    trial_dirname_creator=name_of,
                    callbacks=[monitor, preemption, *callbacks],
                    verbose=0,
                )
        except PreemptedError:
            return Outcome({}, {}, interrupted_by=signal.SIGTERM)
        except TuneError as error:
            if monitor.error is None:
                raise
            raise monitor.error from error
        errors = {
            str(trial): str(trial.get_error() or "it gave no reason")
            for trial in analysis.trials
            if trial.status == Trial.ERROR
        }
        unfinished = len(names) > len(analysis.trials) or any(
            str(trial) not in errors
            and records.trials[str(trial)].stopped is None
            and trial.last_result.get(TRAINING_ITERATION, 0) < recipe.max_iters
            for trial in analysis.trials
        )
        if unfinished:
            return Outcome({}, {}, interrupted_by=signal.SIGINT)
    diverged = {
        name: str(record.stopped) for name, record in records.trials.items() if record.has_failed
    }
    return Outcome(
        hyperparameters={
            name: record.config or {key: getattr(recipe, key) for key in recipe.search}
            for name, record in records.trials.items()
        },
        failures=errors | diverged,
        interrupted_by=None,
    )


def _newest_iteration(run: Run, trial: str) -> int:
    files = retry(
        lambda: list_checkpoints(run.storage, f"{run.folder}/{trial}"),
        f"listing the checkpoints of trial {trial}",
    )
    return files[0].iteration if files else 0
