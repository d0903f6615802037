"""Tune, set up for this project: which trials run, when they stop, what is kept."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune import Callback, CheckpointConfig
from ray.tune.error import TuneError
from ray.tune.experiment import Trial
from ray.tune.logger import TBXLoggerCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator
from ray.tune.tune_config import ResumeConfig

from training.recipe import Recipe
from training.rllib.config import build_config
from training.rllib.divergence import DIVERGED
from training.rllib.resources import Resources
from training.runs.chosen_checkpoint import has_ended
from training.runs.preemption import PreemptedError, Preemption
from training.runs.recovery import Recovery
from training.runs.run import Run
from training.runs.trainable import DrivingPPO
from training.runs.whole_files import whole_files
from training.store.layout import RUNS

METRIC = "return_mean"
"""What trials are compared by: mean unshaped, unscaled return of the latest sampled episodes."""

_MAX_FAILURES = 5
"""A trial goes on from its checkpoint this often after losing a process or a (spot) node, and is
given up if no new one was stored in between."""


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
    """What told the run to stop, where some trial has not ended because of it."""

    def raise_failures(self) -> None:
        """Raise TrialsFailedError if a trial failed."""
        if self.failures:
            raise TrialsFailedError(
                "; ".join(f"trial {trial} failed: {why}" for trial, why in self.failures.items())
            )


class _Unended(Callback):  # type: ignore[misc]
    """The trials that began and did not end: Tune calls an interrupted one terminated too."""

    def __init__(self) -> None:
        self.trials: set[str] = set()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        del iteration, trials
        self.trials.add(trial.trial_id)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: Any
    ) -> None:
        del iteration, trials
        self.trials.discard(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        del iteration, trials
        self.trials.discard(trial.trial_id)


class _StopWhenLost(Callback):  # type: ignore[misc]
    """Ends a run that another process has taken over."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def on_step_begin(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        del iteration, trials
        self._run.raise_if_lost()


class _KeepScheduler(Callback):  # type: ignore[misc]
    """Keeps a scheduler's state with the run's: Tune itself begins with an empty one on resume.

    Without its rungs, halving would compare a young trial with what old ones reached much later.
    """

    def __init__(self, scheduler: TrialScheduler) -> None:
        self._scheduler = scheduler

    def get_state(self) -> dict[str, Any]:
        return {"scheduler": vars(self._scheduler).copy()}

    def set_state(self, state: dict[str, Any]) -> None:
        vars(self._scheduler).update(state["scheduler"])


class _EndingTheEnded:
    """A scheduler that ends trials which have nothing left to train, before they are restored.

    Tune looks at results alone: it would train one more iteration to get one.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        for trial in list(tune_controller.get_trials()):
            if trial.status == Trial.PENDING and has_ended(trial):
                tune_controller.stop_trial(trial)
        chosen: Trial | None = super().choose_trial_to_run(tune_controller)  # type: ignore[misc]
        return chosen


class _InTurn(_EndingTheEnded, FIFOScheduler):  # type: ignore[misc]
    """Trials in their order, each to its end."""


class _Halving(_EndingTheEnded, ASHAScheduler):  # type: ignore[misc]
    """Asynchronous successive halving."""


def tune_trials(
    run: Run,
    recipe: Recipe,
    resources: Resources,
    *,
    trials: int,
    seed: int,
    callbacks: Sequence[Callback],
    resume: bool,
) -> Outcome:
    """Run a run's trials, or go on with them, until they end or a signal comes.

    A single trial uses the recipe's own values; several search its ranges. At SIGTERM all that
    run are saved first, see :mod:`training.runs.preemption`.

    Raises:
        RunError: A trial's checkpoints are all damaged, or Tune's state is.
        RunLockedError: Another process has taken the run over.
        StorageError: Storage was away for too long.
    """
    searching = trials > 1
    config = build_config(recipe, resources, seed=seed, searching=searching)
    scheduler: TrialScheduler = _InTurn()
    if searching:
        scheduler = _Halving(
            time_attr="training_iteration",
            max_t=recipe.max_iters,
            grace_period=min(recipe.asha.grace_period, recipe.max_iters),
            reduction_factor=recipe.asha.reduction_factor,
        )
    unended = _Unended()
    preemption = Preemption()
    recovery = Recovery(run, resume=resume, observers=callbacks)
    # Tune's own tables would hold iterations twice, and its JSON file is read from storage in the
    # midst of training, where an error ends the run.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    try:
        with preemption.listening():
            analysis = tune.run(
                DrivingPPO,
                name=run.name,
                storage_path=run.storage.at(RUNS),
                storage_filesystem=whole_files(run.storage.filesystem),
                config=config.to_dict(),
                num_samples=trials,
                metric=METRIC,
                mode="max",
                scheduler=scheduler,
                search_alg=BasicVariantGenerator(
                    random_state=seed, max_concurrent=resources.max_concurrent_trials
                ),
                stop={"training_iteration": recipe.max_iters},
                checkpoint_config=CheckpointConfig(
                    num_to_keep=recipe.keep_checkpoints,
                    checkpoint_frequency=recipe.checkpoint_every,
                    checkpoint_at_end=True,
                ),
                max_failures=_MAX_FAILURES,
                raise_on_failed_trial=False,
                trial_dirname_creator=lambda trial: trial.trial_id,
                callbacks=[
                    _StopWhenLost(run),
                    preemption,
                    recovery,
                    *callbacks,
                    unended,
                    _KeepScheduler(scheduler),
                    TBXLoggerCallback(),
                ],
                resume_config=ResumeConfig(errored=ResumeConfig.ResumeType.RESUME)
                if resume
                else None,
                verbose=0,
            )
    except PreemptedError:
        return Outcome({}, {}, interrupted_by=signal.SIGTERM)
    except TuneError as error:
        if recovery.failure is None:
            raise
        raise recovery.failure from error
    interrupted = bool(unended.trials) or any(not trial.is_finished() for trial in analysis.trials)
    return Outcome(
        hyperparameters={
            trial.trial_id: {name: _value(trial.config, name) for name in recipe.search}
            for trial in analysis.trials
        },
        failures={
            trial.trial_id: str(
                trial.last_result.get(DIVERGED) or trial.get_error() or "it gave no reason"
            )
            for trial in analysis.trials
            if trial.status == Trial.ERROR or DIVERGED in trial.last_result
        },
        interrupted_by=signal.SIGINT if interrupted else None,
    )


def _value(config: dict[str, Any], name: str) -> Any:
    """A hyperparameter of a trial; RLlib keeps some of them under a private name."""
    return config[name] if name in config else config[f"_{name}"]
