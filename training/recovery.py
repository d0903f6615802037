"""What a trial goes on from: its newest whole checkpoint, whatever Tune's state says.

Tune notes where a trial's newest checkpoint is and restores that. It does not look whether it is
whole, cannot know one that was stored while the driver died, and gives a trial up after some
failures to restore or to store one. So before a trial is restored its checkpoints are looked
through here; and a trial whose checkpoint storage refuses trains on, and stores it later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train._internal.checkpoint_manager import _CheckpointManager
from ray.train._internal.session import _TrainingResult
from ray.tune import Callback, Checkpoint
from ray.tune.experiment import Trial
from ray.tune.result import DONE, SHOULD_CHECKPOINT, TRAINING_ITERATION

from training.retrying import STORAGE_PATIENCE_S, patiently
from training.run import Run, RunError
from training.storage import StorageError
from training.trial_checkpoints import (
    StoredCheckpoint,
    Survey,
    checkpoint_name,
    survey,
)

logger = logging.getLogger(__name__)

_LONG_SAVE_S = 30.0
"""After so long it is said that a last checkpoint is waited for."""
_ANSWER_S = 10.0
"""How long a trial's process may take to say why it stored nothing."""


def stored_iteration(trial: Trial) -> int:
    """The iteration after which a trial's newest checkpoint was taken; 0 where it has none."""
    newest = trial.latest_checkpoint_result
    return int(newest.metrics.get(TRAINING_ITERATION, 0)) if newest else 0


def has_ended(trial: Trial) -> bool:
    """Whether nothing is left to train after a trial's newest checkpoint.

    Tune's state may be a moment old, and not know yet that the trial was stopped there.
    """
    newest = trial.latest_checkpoint_result
    if newest is None:
        return False
    last = trial.run_metadata.last_result
    stopped = last.get(DONE) and last.get(TRAINING_ITERATION) == stored_iteration(trial)
    return bool(stopped or trial.should_stop(newest.metrics))


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
                    self._settle(trial, trials)
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

    def _settle(self, trial: Trial, trials: list[Trial]) -> None:
        """Let a trial go on from its newest whole checkpoint."""
        folder = f"{self._run.folder}/{trial.trial_id}"
        try:
            found = patiently(
                lambda: survey(self._run.storage, folder),
                f"looking for checkpoints of trial {trial.trial_id}",
                for_s=self._patience_s,
            )
        except OSError as error:
            raise self._fails(
                StorageError(f"storage root {self._run.storage.root!r}: {error}")
            ) from error
        if found.last_index > trial.storage.current_checkpoint_index:
            # Tune counts after it has deleted older ones; an error there leaves its count behind.
            trial.storage.current_checkpoint_index = found.last_index
            trial.invalidate_json_state()
        named = trial.checkpoint
        known = PurePosixPath(named.path).name if named else None
        if known is not None and all(known != one.name for one in found.usable):
            found.refused.setdefault(known, "it is not there")
        if not found.usable:
            self._begin_again(trial, found, known)
            return
        chosen = found.usable[0]
        newer = [name for name in found.refused if chosen.is_best or name > chosen.name]
        for name in sorted(newer):
            logger.warning("trial %s: %s is refused: %s", trial.trial_id, name, found.refused[name])
        if newer or chosen.name != known:
            logger.warning(
                "trial %s goes on from %s, taken after iteration %d",
                trial.trial_id,
                chosen.name,
                chosen.listed.iteration,
            )
        if chosen.name == known:
            return
        before = stored_iteration(trial)
        self._take_up(trial, found)
        if chosen.listed.iteration > before:
            for observer in self._observers:
                observer.on_checkpoint(
                    iteration=0, trials=trials, trial=trial, checkpoint=trial.checkpoint
                )

    def _begin_again(self, trial: Trial, found: Survey, known: str | None) -> None:
        """Nothing is whole: no harm where nothing ever was."""
        reasons = "; ".join(f"{name}: {why}" for name, why in sorted(found.refused.items()))
        if known is not None or len(found.refused) > 1:
            raise self._fails(
                RunError(
                    f"no checkpoint of trial {trial.trial_id} in {self._run.address} is whole "
                    f"({reasons}). --restart begins the run again, its published policies stay"
                )
            )
        if reasons:
            logger.warning(
                "trial %s begins again: its first checkpoint is refused (%s)",
                trial.trial_id,
                reasons,
            )

    def _take_up(self, trial: Trial, found: Survey) -> None:
        """Put what is in storage in the place of what Tune's state says."""
        chosen, *older = found.usable
        storage = trial.storage
        if chosen.is_best:
            chosen = self._as_newest(trial, chosen)
        manager = _CheckpointManager(
            checkpoint_config=trial.run_metadata.checkpoint_manager.checkpoint_config
        )
        kept = [chosen, *(one for one in older if not one.is_best)]
        kept = kept[: manager.checkpoint_config.num_to_keep]
        for one in reversed(kept):
            path = self._run.storage.at(f"{self._run.folder}/{trial.trial_id}/{one.name}")
            manager.register_checkpoint(
                _TrainingResult(
                    checkpoint=Checkpoint(path=path, filesystem=storage.storage_filesystem),
                    metrics=dict(one.listed.result),
                )
            )
        trial.run_metadata.checkpoint_manager = manager
        if trial.run_metadata.last_result.get(TRAINING_ITERATION) != chosen.listed.iteration:
            trial.run_metadata.last_result = dict(chosen.listed.result)
        trial.run_metadata.invalidate_cache()
        trial.invalidate_json_state()

    def _as_newest(self, trial: Trial, best: StoredCheckpoint) -> StoredCheckpoint:
        """A copy of the best checkpoint among the others; it is itself replaced by a better one."""
        folder = f"{self._run.folder}/{trial.trial_id}"
        name = checkpoint_name(trial.storage.current_checkpoint_index + 1)
        storage = self._run.storage
        storage.copy_folder(
            storage.at(f"{folder}/{best.name}"),
            f"{folder}/{name}",
            source_filesystem=storage.filesystem,
        )
        trial.storage.current_checkpoint_index += 1
        return StoredCheckpoint(name, best.listed)

    def _storage_error(self, trial: Trial, seconds: float, reason: object) -> StorageError:
        return StorageError(
            f"storage root {self._run.storage.root!r} has refused the checkpoints of trial "
            f"{trial.trial_id} for {seconds:.0f} s: {reason}. Its last one is of iteration "
            f"{stored_iteration(trial)}; once storage is well, the same command goes on from there"
        )

    def _fails(self, error: RunError | StorageError) -> RunError | StorageError:
        self.failure = error
        return error
