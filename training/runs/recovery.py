"""Trials go on: from a whole checkpoint where they were lost, without one where it is refused.

Tune gives a trial up after some failures to restore or to store one. So before a trial is restored
its checkpoints are looked through; and a trial whose checkpoint cannot be stored trains on, and
stores it later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.result import DONE, SHOULD_CHECKPOINT, TRAINING_ITERATION

from training.rllib.divergence import DIVERGED
from training.runs.chosen_checkpoint import choose_checkpoint, stored_iteration
from training.runs.run import Run, RunError
from training.store.retrying import STORAGE_PATIENCE_S
from training.store.storage import StorageError

logger = logging.getLogger(__name__)

_LONG_SAVE_S = 30.0
"""After so long it is said that a last checkpoint is waited for."""
_ANSWER_S = 10.0
"""How long a trial's process may take to say why it stored nothing."""


class Recovery(Callback):  # type: ignore[misc]
    """Chooses the checkpoints that trials are restored from, and sees to it that they are stored.

    Raises out of Tune: RunError, where nothing whole is left to go on from; StorageError, where
    storage was away for too long.
    """

    def __init__(
        self,
        run: Run,
        *,
        resume: bool,
        observers: Sequence[Callback],
        patience_s: float = STORAGE_PATIENCE_S,
    ) -> None:
        """Watch over a run's trials.

        Args:
            run: The run.
            resume: Whether Tune is to take the run up from its state.
            observers: Are told of checkpoints that Tune does not know, as it would have told them.
            patience_s: How long storage may refuse a trial's checkpoints.
        """
        self.failure: RunError | StorageError | None = None
        """What was raised; Tune wraps some errors in its own."""
        self._run = run
        self._observers = observers
        self._patience_s = patience_s
        self._first = resume
        self._taken_up = False
        self._unsettled: set[str] = set()
        self._refused_since: dict[str, float] = {}
        self._last_saves: dict[str, float] = {}

    def get_state(self) -> dict[str, Any]:
        """Something, so that :meth:`set_state` tells whether Tune took the run up."""
        return {"run": self._run.name}

    def set_state(self, state: dict[str, Any]) -> None:
        """Tune takes the run up."""
        del state
        self._taken_up = True

    def on_step_begin(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        """Choose for trials that are about to be restored."""
        del iteration
        if self._first:
            self._first = False
            if not self._taken_up:
                raise self._fails(
                    RunError(
                        f"Tune cannot read its state in {self._run.address}, see its message; "
                        "--restart begins the run again, its published policies stay"
                    )
                )
            self._unsettled = {trial.trial_id for trial in trials}
            for trial in trials:
                if not trial.is_finished():
                    # One that was given up is tried again as often as any other.
                    trial.run_metadata.num_failures = 0
                    trial.run_metadata.invalidate_cache()
        if self._unsettled:
            for trial in list(trials):
                if trial.trial_id in self._unsettled and not trial.is_finished():
                    self._choose(trial, trials)
            self._unsettled.clear()

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """A process of it was lost; it is about to be restored."""
        del iteration, trials
        self._unsettled.add(trial.trial_id)
        self._last_saves.pop(trial.trial_id, None)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """It is given up: no checkpoint of it is waited for."""
        del iteration, trials
        self._last_saves.pop(trial.trial_id, None)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        """Have a checkpoint taken now, where the last one could not be stored."""
        del iteration, trials
        since = self._refused_since.get(trial.trial_id)
        if since is not None:
            result[SHOULD_CHECKPOINT] = True
        if result.get(DONE):
            # It does not train on, and its own process waits: here that would hold up the others.
            now = time.monotonic()
            self._last_saves[trial.trial_id] = now
            left_s = self._patience_s - (now - (since or now))
            trial.temporary_state.ray_actor.be_patient.remote(max(0.0, left_s))

    def on_step_end(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        """Say which last checkpoints are waited for."""
        del iteration, trials
        for trial, since in self._last_saves.items():
            if trial not in self._refused_since and time.monotonic() - since > _LONG_SAVE_S:
                self._refused_since[trial] = since
                logger.warning(
                    "trial %s: its last checkpoint is not stored yet, after %.0f s; it is tried "
                    "for up to %.0f s",
                    trial,
                    time.monotonic() - since,
                    self._patience_s,
                )

    def on_trial_save(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """See whether the checkpoint has come to storage."""
        del iteration, trials
        last_save = self._last_saves.pop(trial.trial_id, None)
        if DIVERGED in trial.last_result:
            return  # it takes no checkpoint
        if stored_iteration(trial) == trial.last_result[TRAINING_ITERATION]:
            # Failures count from one checkpoint to the next: a long run may lose many nodes.
            trial.run_metadata.num_failures = 0
            if self._refused_since.pop(trial.trial_id, None) is not None:
                logger.warning("trial %s: its checkpoints are stored again", trial.trial_id)
            return
        reason: str | None
        try:
            reason = ray.get(
                trial.temporary_state.ray_actor.why_not_stored.remote(), timeout=_ANSWER_S
            )
        except RayError as error:
            reason = f"its process does not answer ({type(error).__name__})"
        if reason is None:
            return  # stored, but Tune could not delete an older one, and said so
        since = self._refused_since.setdefault(trial.trial_id, last_save or time.monotonic())
        refused_s = time.monotonic() - since
        if refused_s > self._patience_s or trial.last_result.get(DONE):
            raise self._fails(self._storage_error(trial, refused_s, reason))
        logger.warning(
            "trial %s: its checkpoint cannot be stored, for %.0f s now: %s; it trains on and tries "
            "again after the next iteration",
            trial.trial_id,
            refused_s,
            reason,
        )

    def _choose(self, trial: Trial, trials: list[Trial]) -> None:
        try:
            newer = choose_checkpoint(self._run, trial, patience_s=self._patience_s)
        except (RunError, StorageError) as error:
            self.failure = error
            raise
        if newer:
            for observer in self._observers:
                observer.on_checkpoint(
                    iteration=0, trials=trials, trial=trial, checkpoint=trial.checkpoint
                )

    def _storage_error(self, trial: Trial, seconds: float, reason: object) -> StorageError:
        return StorageError(
            f"the checkpoints of trial {trial.trial_id} could not be stored in "
            f"{self._run.storage.root!r} for {seconds:.0f} s: {reason}. Its last one is of "
            f"iteration {stored_iteration(trial)}; once they can be, the same command goes on "
            "from there"
        )

    def _fails(self, error: RunError | StorageError) -> RunError | StorageError:
        self.failure = error
        return error
