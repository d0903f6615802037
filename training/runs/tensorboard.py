"""TensorBoard's event files: every number of every result, in the trial's folder."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.result import TRAINING_ITERATION
from ray.tune.utils import flatten_dict
from tensorboardX import SummaryWriter

from training.store.background import StorageQueue
from training.store.layout import run_folder
from training.store.storage import Storage
from training.trials.trainable import STORED


class TensorBoardCallback(Callback):  # type: ignore[misc]
    """Writes event files to a local folder, and stores each of them once.

    A file ends with each checkpoint: objects in a bucket cannot be appended to, and writing a
    growing file again and again would cost the square of its size.
    """

    def __init__(self, storage: Storage, run: str, queue: StorageQueue, folder: str) -> None:
        """Write nothing yet.

        Args:
            storage: The storage root.
            run: The run's name.
            queue: Stores the files.
            folder: A local folder for files that are being written.
        """
        self._storage = storage
        self._run = run
        self._queue = queue
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}
        self._stored: dict[str, int] = {}

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        """Add the numbers of a result."""
        del iteration, trials
        name = str(trial)
        if name not in self._writers:
            # A folder per file, so that a file that is still written is not stored.
            self._writers[name] = SummaryWriter(
                tempfile.mkdtemp(dir=self._folder),
                filename_suffix=f".{result[TRAINING_ITERATION]:06d}",
            )
        numbers = {key: value for key, value in result.items() if key != "config"}
        for key, value in flatten_dict(numbers, delimiter="/").items():
            if isinstance(value, int | float | np.number) and np.isfinite(value):
                self._writers[name].add_scalar(
                    f"ray/tune/{key}", float(value), global_step=result[TRAINING_ITERATION]
                )
        stored = int(result.get(STORED, 0))
        if stored > self._stored.get(name, 0):
            self._stored[name] = stored
            self._store(name)

    def on_experiment_end(self, trials: list[Trial], **_: Any) -> None:
        """Store what is left."""
        del trials
        for name in list(self._writers):
            self._store(name)

    def _store(self, trial: str) -> None:
        writer = self._writers.pop(trial)
        writer.close()
        folder = Path(writer.logdir)
        self._queue.submit(f"{trial}/{folder.name}", partial(self._move, trial, folder))

    def _move(self, trial: str, folder: Path) -> None:
        for path in sorted(folder.iterdir()):
            self._storage.write(f"{run_folder(self._run)}/{trial}/{path.name}", path.read_bytes())
            path.unlink()
