"""PPO as Tune runs it: the trial takes its own checkpoints, and restores itself.

Tune takes no checkpoints. When a trial starts, it restores its newest complete checkpoint. Its
results tell the driver what is stored. A trial that cannot continue ends with a result that says
why, because after an exception Tune would start it again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
from ray.rllib.algorithms.ppo import PPO
from ray.rllib.core import (
    COMPONENT_LEARNER,
    COMPONENT_LEARNER_GROUP,
    COMPONENT_RL_MODULE,
    DEFAULT_MODULE_ID,
)
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.tune.result import DONE, TIME_TOTAL_S, TRAINING_ITERATION, TRIAL_ID

from training.store.checkpoint import NoCompleteCheckpointError
from training.trials.divergence import DIVERGED, find_divergence
from training.trials.draining import is_draining
from training.trials.trial_store import TrialSettings, TrialStore

STORED: Final = "stored_iteration"
"""Key of a result: the iteration of the trial's newest checkpoint in storage; 0 if none is."""
STORAGE_FAILURE: Final = "storage_failure"
"""Key of a result while the newest checkpoint is not in storage: why."""
UNSTORED_S: Final = "unstored_s"
"""Key of the same results: for how many seconds."""
RESTORED: Final = "restored"
"""Key of the first result after a restore: which checkpoint it was, and why others were skipped."""
CANNOT_RESTORE: Final = "cannot_restore"
"""Key of a result of a trial that has checkpoints and cannot be restored: why."""

DRAINING: Final = "draining"
"""Key of results while the trial's node is being drained."""

_ACTOR: Final = "actor."
"""Prefix of the actor's weights in the module's."""
_RESTART_S: Final = 300.0
"""Seconds for which all env runners may be missing."""
_STOP_S: Final = 20.0
"""Seconds to wait for the last checkpoint when Tune stops the trial."""
_HOLD_S: Final = 120.0
"""Seconds after :meth:`DrivingPPO.checkpoint_and_hold` in which the trial trains no more."""


class NoSamplesError(Exception):
    """All env runners are lost."""


class DrivingPPO(PPO):  # type: ignore[misc]
    """RLlib's PPO; the module's docstring says what is added."""

    trial_settings: TrialSettings | None = None
    """Set by :meth:`with_settings`; without it nothing is stored."""

    @classmethod
    def with_settings(cls, settings: TrialSettings) -> type[DrivingPPO]:
        """A subclass with these settings; Ray shows its processes under the same name."""
        return type(cls.__name__, (cls,), {"trial_settings": settings})

    def setup(self, config: Any) -> None:
        """Set up as RLlib does, then restore the newest complete checkpoint."""
        super().setup(config)
        self._store: TrialStore | None = None
        self._seconds_before = 0.0
        """Training time up to the checkpoint that was restored."""
        self._notes: dict[str, Any] = {}
        """For the next result."""
        self._held_until = 0.0
        self._newest_result: Mapping[str, Any] = {}
        if self.trial_settings is not None:
            # RLlib does not pass on what Tune says of the trial; its folder has the trial's name.
            self._store = TrialStore(self.trial_settings, Path(self.logdir).name)
            self._restore(self._store)

    def step(self) -> dict[str, Any]:
        """Train one iteration; where it diverges, the result is the trial's last one.

        While all env runners are being restarted, RLlib's iterations train nothing. They are not
        counted.

        Raises:
            NoSamplesError: No env runner came back.
        """
        if self._cannot_continue():
            return {DONE: True}
        while time.monotonic() < self._held_until:
            time.sleep(1.0)
        deadline = time.monotonic() + _RESTART_S
        before = self._sampled()
        result: dict[str, Any] = super().step()
        while self._sampled() == before:
            if time.monotonic() > deadline:
                raise NoSamplesError(
                    f"no env runner has sampled anything for {_RESTART_S:g} s in iteration "
                    f"{self.iteration + 1}"
                )
            result = super().step()
        if divergence := find_divergence(self, result, self.iteration + 1):
            result |= {DIVERGED: divergence, DONE: True}
        return result

    def log_result(self, result: dict[str, Any]) -> None:
        """Complete a result, add it to the trial's table, and take a checkpoint if one is due."""
        result |= self._notes
        if self._cannot_continue():
            return
        self._notes = {}
        result[TIME_TOTAL_S] += self._seconds_before
        super().log_result(result)
        self._newest_result = result
        if self._store is not None:
            self._save(self._store, result)

    def checkpoint_and_hold(self, timeout_s: float) -> int:
        """Take a checkpoint of the last iteration, then train no more: the run is about to end.

        Args:
            timeout_s: How long to wait for storage.

        Returns:
            The iteration of the newest checkpoint in storage, 0 if there is none.
        """
        self._held_until = time.monotonic() + _HOLD_S
        if self._store is None:
            return 0
        if self.iteration > self._store.taken and DIVERGED not in self._newest_result:
            self._checkpoint(self._store, self._newest_result)
        self._store.wait(timeout_s)
        return self._store.stored

    def cleanup(self) -> None:
        """Wait for the last checkpoint to be stored, then stop all processes."""
        if self._store is not None:
            self._store.wait(_STOP_S)
        super().cleanup()

    def _cannot_continue(self) -> bool:
        return CANNOT_RESTORE in self._notes or STORAGE_FAILURE in self._notes

    def _sampled(self) -> int:
        """Decisions that the trial has sampled."""
        return int(
            self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0)
        )

    def _restore(self, store: TrialStore) -> None:
        try:
            checkpoint, skipped = store.restore()
            initial = store.read_initial_weights() if checkpoint is None else None
        except NoCompleteCheckpointError as error:
            self._notes[CANNOT_RESTORE] = str(error)
            return
        except OSError as error:
            self._notes |= {STORAGE_FAILURE: str(error), UNSTORED_S: store.settings.patience_s}
            return
        if initial is not None:
            self._start_from(initial)
        if checkpoint is None:
            return
        self.set_state(checkpoint.state)
        for callback in self.callbacks:
            callback.on_checkpoint_loaded(algorithm=self)
        metadata = checkpoint.metadata
        self._newest_result = dict(metadata.result)
        self._seconds_before = float(metadata.result.get(TIME_TOTAL_S) or 0.0)
        reasons = "".join(f"; {name} is skipped: {why}" for name, why in skipped.items())
        self._notes[RESTORED] = f"continues after iteration {metadata.iteration}{reasons}"

    def _start_from(self, weights: bytes) -> None:
        """Replace the actor's weights, contents of ``policy.safetensors``, before any training."""
        state = self.get_state()
        module = _module_state(state)
        for name, tensor in safetensors.torch.load(weights).items():
            module[_ACTOR + name] = tensor.numpy()
        self.set_state(state)

    def _save(self, store: TrialStore, result: dict[str, Any]) -> None:
        iteration, settings = int(result[TRAINING_ITERATION]), store.settings
        result[TRIAL_ID] = store.trial
        store.add_row(result)
        if DIVERGED in result:
            store.write_table()
        elif settings.is_checkpoint_due(iteration):
            self._checkpoint(store, result)
        elif is_draining():
            # The node may end at any time now, and no later checkpoint would be stored.
            result[DRAINING] = True
            self._checkpoint(store, result)
        if result[DONE] or iteration >= settings.max_iters:
            store.wait(settings.patience_s)
        result[STORED] = store.stored
        if (failure := store.failure()) is not None:
            result[UNSTORED_S], result[STORAGE_FAILURE] = failure

    def _checkpoint(self, store: TrialStore, result: Mapping[str, Any]) -> None:
        state = self.get_state()
        store.checkpoint(result, weights=_actor_weights(state), state=state)


def _actor_weights(state: Mapping[str, Any]) -> bytes:
    """The policy's weights in an algorithm's state, as the contents of ``policy.safetensors``."""
    return safetensors.torch.save(
        {
            name.removeprefix(_ACTOR): torch.as_tensor(value).contiguous()
            for name, value in _module_state(state).items()
            if name.startswith(_ACTOR)
        }
    )


def _module_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """The module's weights by name in an algorithm's state."""
    learner = state[COMPONENT_LEARNER_GROUP][COMPONENT_LEARNER]
    weights: dict[str, Any] = learner[COMPONENT_RL_MODULE][DEFAULT_MODULE_ID]
    return weights
