"""What a trial goes on from: its newest whole checkpoint, whatever Tune's state says.

Tune notes where a trial's newest checkpoint is and restores that. It does not look whether it is
whole, and cannot know one that was stored while the driver died.
"""

from __future__ import annotations

import logging
from pathlib import PurePosixPath

from ray.train._internal.checkpoint_manager import _CheckpointManager
from ray.train._internal.session import _TrainingResult
from ray.tune import Checkpoint
from ray.tune.experiment import Trial
from ray.tune.result import DONE, TRAINING_ITERATION

from training.runs.run import Run, RunError
from training.runs.trial_checkpoints import (
    StoredCheckpoint,
    Survey,
    checkpoint_name,
    survey,
)
from training.store.retrying import patiently
from training.store.storage import StorageError

logger = logging.getLogger(__name__)


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


def choose_checkpoint(run: Run, trial: Trial, *, patience_s: float) -> bool:
    """Let a trial go on from its newest whole checkpoint.

    Args:
        run: Its run.
        trial: Is about to be restored.
        patience_s: How long storage is asked again where it is away.

    Returns:
        Whether this checkpoint was taken later than any that Tune knew.

    Raises:
        RunError: It has checkpoints, and none is whole.
        StorageError: Storage was away for too long.
    """
    folder = f"{run.folder}/{trial.trial_id}"
    try:
        found = patiently(
            lambda: survey(run.storage, folder),
            f"looking for checkpoints of trial {trial.trial_id}",
            for_s=patience_s,
        )
    except OSError as error:
        raise StorageError(f"storage root {run.storage.root!r}: {error}") from error
    if found.last_index > trial.storage.current_checkpoint_index:
        # Tune counts after it has deleted older ones; an error there leaves its count behind.
        trial.storage.current_checkpoint_index = found.last_index
        trial.invalidate_json_state()
    named = trial.checkpoint
    known = PurePosixPath(named.path).name if named else None
    if known is not None and all(known != one.name for one in found.usable):
        found.refused.setdefault(known, "it is not there")
    if not found.usable:
        _begin_again(run, trial, found, known)
        return False
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
        return False
    before = stored_iteration(trial)
    _take_up(run, trial, found)
    return chosen.listed.iteration > before


def _begin_again(run: Run, trial: Trial, found: Survey, known: str | None) -> None:
    """Nothing is whole: no harm where nothing ever was."""
    reasons = "; ".join(f"{name}: {why}" for name, why in sorted(found.refused.items()))
    if known is not None or len(found.refused) > 1:
        raise RunError(
            f"no checkpoint of trial {trial.trial_id} in {run.address} is whole "
            f"({reasons}). --restart begins the run again, its published policies stay"
        )
    if reasons:
        logger.warning(
            "trial %s begins again: its first checkpoint is refused (%s)",
            trial.trial_id,
            reasons,
        )


def _take_up(run: Run, trial: Trial, found: Survey) -> None:
    """Put what is in storage in the place of what Tune's state says."""
    chosen, *older = found.usable
    storage = trial.storage
    if chosen.is_best:
        chosen = _as_newest(run, trial, chosen)
    manager = _CheckpointManager(
        checkpoint_config=trial.run_metadata.checkpoint_manager.checkpoint_config
    )
    kept = [chosen, *(one for one in older if not one.is_best)]
    kept = kept[: manager.checkpoint_config.num_to_keep]
    for one in reversed(kept):
        path = run.storage.at(f"{run.folder}/{trial.trial_id}/{one.name}")
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


def _as_newest(run: Run, trial: Trial, best: StoredCheckpoint) -> StoredCheckpoint:
    """A copy of the best checkpoint among the others; it is itself replaced by a better one."""
    folder = f"{run.folder}/{trial.trial_id}"
    name = checkpoint_name(trial.storage.current_checkpoint_index + 1)
    storage = run.storage
    storage.copy_folder(
        storage.at(f"{folder}/{best.name}"),
        f"{folder}/{name}",
        source_filesystem=storage.filesystem,
    )
    trial.storage.current_checkpoint_index += 1
    return StoredCheckpoint(name, best.listed)
