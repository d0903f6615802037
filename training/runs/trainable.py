"""PPO as Tune runs it: checkpoints that tell whether they are whole, and storage that may be away.

A trial whose checkpoint cannot be stored is a good trial: it trains on, and so does one whose own
disk is full. What follows is decided where all trials are seen, in ``training.runs.recovery``.

A trial that has diverged ends there: its result says why, and no checkpoint is taken any more.
"""

from __future__ import annotations

import errno
import tempfile
import time
from pathlib import Path
from typing import Any

from pyarrow import fs
from ray.rllib.algorithms.ppo import PPO
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_LEARNER_GROUP
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.train._internal.session import _TrainingResult
from ray.tune import Checkpoint
from ray.tune.result import DONE

from training.rllib.divergence import DIVERGED, find_divergence
from training.rllib.learner import SAVED_FILE, DrivingLearner
from training.runs.whole_checkpoint import seal, verify
from training.store.retrying import patiently

_LEARNER = f"{COMPONENT_LEARNER_GROUP}/{COMPONENT_LEARNER}"
"""Where in a checkpoint the learner's state is."""
_RESTART_S = 300.0
"""How long all env runners may be away at once."""
_BRIEFLY_S = 4.0
"""How long a trial that has more to train waits for storage before it does."""


class NoSamplesError(Exception):
    """All env runners are lost."""


class DrivingPPO(PPO):  # type: ignore[misc]
    """RLlib's PPO; see the module's docstring for what is added."""

    _refusal: str | None = None
    _patience_s: float | None = None
    _has_diverged = False

    def step(self) -> dict[str, Any]:
        """Train one iteration; where it diverges, the result is the trial's last one.

        While all env runners are being restarted RLlib's iterations train nothing. They are not
        counted.

        Raises:
            NoSamplesError: No env runner came back.
        """
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
            self._has_diverged = True
            result |= {DIVERGED: divergence, DONE: True}
        return result

    def _sampled(self) -> int:
        """Decisions that the trial has sampled."""
        return int(
            self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0)
        )

    def be_patient(self, seconds: float) -> None:
        """Wait for storage for so long from now on: no training is held up by that."""
        self._patience_s = seconds

    def why_not_stored(self) -> str | None:
        """Why the checkpoint taken last is not in storage; None where it is."""
        return self._refusal

    def save(self, checkpoint_dir: str | None = None) -> _TrainingResult:
        """Take a checkpoint; tell Tune that there is none after a divergence or a full disk.

        In Tune's hands it is written to a temporary folder, which is deleted whatever happens.

        Raises:
            OSError: A process that learns was lost.
        """
        if checkpoint_dir or self._storage is None:
            return super().save(checkpoint_dir)
        if self._has_diverged:
            return _TrainingResult(checkpoint=None, metrics={})
        try:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                return super().save(folder)
        except OSError as error:
            if self._has_lost_a_learner():
                # The others would wait for it in the next iteration.
                raise
            # Not of storage: see below.
            self._refusal = f"it could not be written on the trial's own node: {error}"
            return _TrainingResult(checkpoint=None, metrics={})

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save as RLlib does, and list what was saved.

        Raises:
            OSError: The disk refused, here or where the learner is.
        """
        super().save_checkpoint(checkpoint_dir)
        if not Path(checkpoint_dir, _LEARNER, SAVED_FILE).is_file():
            answers = self.learner_group.foreach_learner(DrivingLearner.why_not_saved)
            reasons = [reason for each in answers if each.ok and (reason := each.get())]
            raise OSError(
                errno.EIO,
                "a learner has not written all of its state: "
                f"{'; '.join(reasons) or 'its process is lost'}",
            )
        seal(Path(checkpoint_dir), self.iteration, self._last_result or {})

    def _has_lost_a_learner(self) -> bool:
        answers = self.learner_group.foreach_learner(DrivingLearner.why_not_saved)
        return len([each for each in answers if each.ok]) < len(self.learner_group)

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Restore a checkpoint that is whole.

        Raises:
            BrokenCheckpointError: It is not.
        """
        verify(fs.LocalFileSystem(), checkpoint_dir)
        super().load_checkpoint(checkpoint_dir)

    def _report_class_trainable_checkpoint(
        self, checkpoint_dir: str, checkpoint_dict_or_path: Any
    ) -> _TrainingResult:
        """Copy a checkpoint to storage; where that refuses, tell Tune that there is none."""
        if self._storage is None:
            return super()._report_class_trainable_checkpoint(
                checkpoint_dir, checkpoint_dict_or_path
            )
        index = self._storage.current_checkpoint_index

        def store() -> _TrainingResult:
            self._storage.current_checkpoint_index = index
            stored = super(DrivingPPO, self)._report_class_trainable_checkpoint(
                checkpoint_dir, checkpoint_dict_or_path
            )
            _require_arrived(Path(checkpoint_dir), stored.checkpoint)
            return stored

        patience_s = _BRIEFLY_S if self._patience_s is None else self._patience_s
        try:
            # Tune has a RuntimeError for a root that is not there any more.
            stored = patiently(
                store, "storing a checkpoint", for_s=patience_s, errors=(OSError, RuntimeError)
            )
        except (OSError, RuntimeError) as error:
            self._storage.current_checkpoint_index = index
            # The text of that RuntimeError is about setting Ray up.
            self._refusal = (
                str(error)
                if isinstance(error, OSError)
                else "the root is not there, or cannot be seen from this trial's node"
            )
            return _TrainingResult(checkpoint=None, metrics={})
        self._refusal = None
        return stored


def _require_arrived(folder: Path, stored: Checkpoint) -> None:
    """Raise OSError where a file was not stored: Arrow's copying swallows errors in closing one."""
    selector = fs.FileSelector(stored.path, recursive=True)
    sizes = {
        info.path.removeprefix(f"{stored.path}/"): info.size
        for info in stored.filesystem.get_file_info(selector)
    }
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and sizes.get(name) != path.stat().st_size:
            raise OSError(errno.EIO, "it is not there as it was written", f"{stored.path}/{name}")
