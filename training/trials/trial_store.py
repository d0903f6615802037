"""What one trial stores in its folder: its checkpoints and its table.

The trial's own process writes both, from a thread, so that training does not wait for storage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from training.policy.manifest import PolicyDescription
from training.store.background import StorageQueue
from training.store.checkpoint import Checkpoint, pack_checkpoint, read_newest_checkpoint
from training.store.layout import PROGRESS_FILE
from training.store.retrying import STORAGE_PATIENCE_S, retry
from training.store.storage import Storage
from training.trials.trial_table import TrialTable

_KEY: Final = "checkpoint"
_WAIT_S: Final = 5.0
"""Seconds that storage has for a checkpoint before training continues; 0 after a failure."""


@dataclass(frozen=True)
class TrialSettings:
    """Where a trial stores, and when."""

    storage: Storage
    run_folder: str
    """Relative to the storage root; the trial's folder is in it."""
    policy: PolicyDescription
    """How to run the trial's policies."""
    max_iters: int
    """After this iteration the trial is done."""
    checkpoint_every: int
    """Iterations between checkpoints."""
    milestones: frozenset[int] = frozenset()
    """Iterations after which a search may stop the trial; it takes a checkpoint there."""
    initial_weights: str | None = None
    """File with the weights that the trial starts from, relative to the storage root."""
    patience_s: float = STORAGE_PATIENCE_S
    """Seconds that storage may fail before the trial gives up."""

    def is_checkpoint_due(self, iteration: int) -> bool:
        """Whether a checkpoint is taken after this iteration (counted from 1)."""
        return (
            iteration % self.checkpoint_every == 0
            or iteration >= self.max_iters
            or iteration in self.milestones
        )


class TrialStore:
    """The folder of one trial, see the module's docstring."""

    def __init__(self, settings: TrialSettings, trial: str) -> None:
        """Name the trial; nothing is read or written yet."""
        self.settings = settings
        self.trial = trial
        self.stored = 0
        """The iteration of the newest checkpoint in storage; 0 if there is none."""
        self.taken = 0
        """The iteration of the newest checkpoint, in storage or not."""
        self._folder = f"{settings.run_folder}/{trial}"
        self._table = TrialTable()
        self._queue = StorageQueue(f"checkpoints of {trial}")

    def read_initial_weights(self) -> bytes | None:
        """Read the weights to start from, with retries; None if there are none.

        Raises:
            OSError: Storage failed for too long.
        """
        file = self.settings.initial_weights
        if file is None:
            return None
        read = partial(self.settings.storage.read, file)
        return retry(read, "reading the initial weights", timeout_s=self.settings.patience_s)

    def restore(self) -> tuple[Checkpoint | None, dict[str, str]]:
        """Read the newest complete checkpoint and the rows before it, with retries.

        Returns:
            The checkpoint, None if there is none; and why newer ones were skipped, by name.

        Raises:
            NoCompleteCheckpointError: There are checkpoints, but none is complete.
            OSError: Storage failed for too long.
        """
        storage, patience_s = self.settings.storage, self.settings.patience_s
        retry(self._delete_temporary_files, "deleting temporary files", timeout_s=patience_s)
        checkpoint, skipped = retry(
            lambda: read_newest_checkpoint(storage, self._folder),
            "reading the newest checkpoint",
            timeout_s=patience_s,
        )
        if checkpoint is not None:
            self._table = retry(
                self._read_table, "reading the trial's progress.csv", timeout_s=patience_s
            )
            self._table.drop_after(checkpoint.metadata.iteration)
            self.stored = self.taken = checkpoint.metadata.iteration
        return checkpoint, skipped

    def add_row(self, result: Mapping[str, Any]) -> None:
        """Add a result to the table; it is written with the next checkpoint."""
        self._table.add(result)

    def checkpoint(self, result: Mapping[str, Any], *, weights: bytes, state: Any) -> None:
        """Take a checkpoint in memory, have it stored, and wait for that briefly.

        It replaces an earlier one that is not stored yet; while that is so, it is not waited for.

        Args:
            result: Of the last iteration.
            weights: The policy's, as the contents of ``policy.safetensors``.
            state: Of ``Algorithm.get_state``.
        """
        is_healthy = self.failure() is None
        iteration = int(result["training_iteration"])
        name, content = pack_checkpoint(
            iteration, result, policy=self.settings.policy, weights=weights, state=state
        )
        self.taken = iteration
        self._queue.submit(
            _KEY, partial(self._write, name, content, iteration, self._table.encode())
        )
        if is_healthy:
            self.wait(_WAIT_S)

    def write_table(self) -> None:
        """Have the table written without a checkpoint."""
        self._queue.submit(PROGRESS_FILE, partial(self._write_table, self._table.encode()))

    def wait(self, timeout_s: float) -> bool:
        """Wait until everything is written; whether it is."""
        return self._queue.wait(min(timeout_s, self.settings.patience_s))

    def failure(self) -> tuple[float, str] | None:
        """For how many seconds the newest checkpoint is not stored, and why; None if it is."""
        unstored_s, error = self._queue.pending_s(_KEY), self._queue.last_error
        if unstored_s == 0 or (error is None and unstored_s < _WAIT_S):
            return None
        return unstored_s, str(error or "storage has not responded")

    def _write(self, name: str, content: bytes, iteration: int, table: bytes) -> None:
        # The table first, so that a restored checkpoint has all rows before it.
        self._write_table(table)
        self.settings.storage.write(f"{self._folder}/{name}", content)
        self.stored = iteration

    def _write_table(self, table: bytes) -> None:
        self.settings.storage.write(f"{self._folder}/{PROGRESS_FILE}", table)

    def _delete_temporary_files(self) -> None:
        """Delete what a process that was killed while it wrote has left."""
        for name in self.settings.storage.files(self._folder):
            if name.endswith(".tmp"):
                self.settings.storage.delete_file(f"{self._folder}/{name}")

    def _read_table(self) -> TrialTable:
        try:
            return TrialTable.read(self.settings.storage.read(f"{self._folder}/{PROGRESS_FILE}"))
        except FileNotFoundError:
            return TrialTable()
