"""A copy of each trial's best checkpoint, kept beside the newest ones."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyarrow import fs
from ray.tune import Checkpoint

from training.runs.trial_checkpoints import BEST_CHECKPOINT
from training.runs.whole_files import reading
from training.store.layout import PolicyRef, run_folder
from training.store.retrying import pause_before
from training.store.storage import Storage
from training.store.validation_scores import Validation

logger = logging.getLogger(__name__)


@dataclass
class _Candidate:
    """A checkpoint whose policy is not validated yet."""

    trial: str
    iteration: int
    checkpoint: Checkpoint
    attempts: int = 0
    next_at: float = 0.0


class BestCheckpoints:
    """Keeps the checkpoint of each trial's policy with the highest validation score.

    Until a policy of the trial has a score, the one with the highest return in training.
    """

    def __init__(self, storage: Storage, run: str) -> None:
        self._storage = storage
        self._run = run
        # Of the one that is kept, by trial.
        self._returns: dict[str, float] = {}
        self._scores: dict[str, float] = {}
        self._iterations: dict[str, int] = {}
        self._candidates: dict[PolicyRef, _Candidate] = {}

    def get_state(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"best": self._returns, "best_scores": self._scores}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take up where :meth:`get_state` left off; older runs have no scores."""
        self._returns = state["best"]
        self._scores = state.get("best_scores", {})

    def offer(self, trial: str, ref: PolicyRef, iteration: int, checkpoint: Checkpoint) -> None:
        """Consider a checkpoint once its policy is validated."""
        self._candidates[ref] = _Candidate(trial, iteration, checkpoint)

    def keep_by_return(self, trial: str, result: Mapping[str, Any], checkpoint: Checkpoint) -> None:
        """Keep a checkpoint if no policy of the trial has a score, and none a higher return.

        Raises:
            OSError: Storage refused.
        """
        mean_return = float(result["return_mean"])
        if trial in self._scores or math.isnan(mean_return):
            return
        if mean_return > self._returns.get(trial, -math.inf):
            self._copy(trial, int(result["training_iteration"]), checkpoint)
            self._returns[trial] = mean_return

    def keep_by_score(self, validations: Mapping[PolicyRef, Validation]) -> None:
        """Keep a checkpoint that was offered if its policy has the trial's highest score.

        What storage refuses is tried again later.
        """
        for ref, candidate in list(self._candidates.items()):
            if ref not in validations or time.monotonic() < candidate.next_at:
                continue
            score = validations[ref].mean
            if score > self._scores.get(candidate.trial, -math.inf):
                try:
                    self._copy(candidate.trial, candidate.iteration, candidate.checkpoint)
                except FileNotFoundError:
                    logger.info("checkpoint of %s: deleted before it had a score", ref.version)
                except OSError as error:
                    candidate.attempts += 1
                    candidate.next_at = time.monotonic() + pause_before(candidate.attempts)
                    logger.warning("the best checkpoint is not kept yet: %s", error)
                    continue
                else:
                    self._scores[candidate.trial] = score
            del self._candidates[ref]

    def _copy(self, trial: str, iteration: int, checkpoint: Checkpoint) -> None:
        """Put a checkpoint in the place of the one that is kept.

        Raises:
            FileNotFoundError: It was deleted.
            OSError: Storage refused.
        """
        if iteration == self._iterations.get(trial):
            return
        storage = self._storage
        folder = f"{run_folder(self._run)}/{trial}"
        kept = f"{BEST_CHECKPOINT}{iteration:06d}"
        if checkpoint.path != storage.at(f"{folder}/{kept}"):
            source = reading(checkpoint.filesystem or fs.LocalFileSystem())
            if source.get_file_info(checkpoint.path).type == fs.FileType.NotFound:
                raise FileNotFoundError(checkpoint.path)
            storage.copy_folder(checkpoint.path, f"{folder}/{kept}", source_filesystem=source)
        self._iterations[trial] = iteration
        for name in storage.folders(folder):
            if name.startswith(BEST_CHECKPOINT) and name != kept:
                storage.delete_folder(f"{folder}/{name}")
