"""PPO as Tune runs it: checkpoints that tell whether they are whole, and storage that may be away.

A trial whose checkpoint cannot be stored is a good trial: it trains on. What is made of that is
decided where all trials are seen, in ``training.recovery``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyarrow import fs
from ray.rllib.algorithms.ppo import PPO
from ray.train._internal.session import _TrainingResult

from training.retrying import patiently
from training.whole_checkpoint import seal, verify

_BRIEFLY_S = 4.0
"""How long a trial that has more to train waits for storage before it does."""


class DrivingPPO(PPO):  # type: ignore[misc]
    """RLlib's PPO; see the module's docstring for what is added."""

    _refusal: str | None = None
    _patience_s: float | None = None

    def be_patient(self, seconds: float) -> None:
        """Wait for storage for so long from now on: no training is held up by that."""
        self._patience_s = seconds

    def why_not_stored(self) -> str | None:
        """Why the checkpoint taken last is not in storage; None where it is."""
        return self._refusal

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save as RLlib does, and list what was saved."""
        super().save_checkpoint(checkpoint_dir)
        seal(Path(checkpoint_dir), self.iteration, self._last_result or {})

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
            return super(DrivingPPO, self)._report_class_trainable_checkpoint(
                checkpoint_dir, checkpoint_dict_or_path
            )

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
