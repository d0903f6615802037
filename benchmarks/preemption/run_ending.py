"""Stop a training run with SIGTERM, and check what is in storage."""

from __future__ import annotations

import csv
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from benchmarks.preemption.killed_training import RUN, Command
from training.evaluation.progress import read_progress
from training.store.layout import PROGRESS_FILE, progress_file, run_folder
from training.store.policies import PolicyStore
from training.store.storage import Storage

_NOTICE_S: Final = 30.0
"""From SIGTERM until the run has ended."""


@dataclass(frozen=True)
class Ending:
    """What SIGTERM came to."""

    seconds: float
    """Until the run had ended, or was waited for no longer."""
    status: int | None
    """The exit status; None where it did not end."""
    aggregate: tuple[int, int]
    """Missing and doubled rows of the run's table."""
    own: tuple[int, int]
    """The same of the trial's own."""
    saved: bool
    """Whether the newest policy is of the last iteration."""

    def broken_promises(self) -> list[str]:
        """What did not hold."""
        checks = {
            f"rows missing, doubled: {self.aggregate} of the run": any(self.aggregate),
            f"rows missing, doubled: {self.own} of the trial": any(self.own),
            f"SIGTERM took {self.seconds:.1f} s": not self.seconds <= _NOTICE_S,
            f"SIGTERM ended with status {self.status}": self.status != 128 + signal.SIGTERM,
            "SIGTERM did not save and publish": not self.saved,
        }
        return [fault for fault, holds in checks.items() if holds]

    def told(self) -> dict[str, str]:
        """The same for a table: what, and how it came out."""
        return {
            "rows missing, doubled in the run's progress.csv": "{}, {}".format(*self.aggregate),
            "rows missing, doubled in the trial's own": "{}, {}".format(*self.own),
            "SIGTERM: seconds until it ended, status, saved and published": (
                f"{self.seconds:.1f}, {self.status}, {'yes' if self.saved else 'no'}"
            ),
        }


def gaps(iterations: Sequence[int]) -> tuple[int, int]:
    """Rows that are missing, and that are there twice or more."""
    there = set(iterations)
    return max(there, default=0) - len(there), len(iterations) - len(there)


def end(command: Command, storage: Storage) -> Ending:
    """Tell a run of one trial to end, and look at what it has stored.

    Raises:
        FileNotFoundError, ProgressError, NoPolicyError: It has stored no table or no policy.
    """
    began = time.monotonic()
    command.process.terminate()
    status = None
    with suppress(subprocess.TimeoutExpired):
        status = command.process.wait(2 * _NOTICE_S)
    seconds = time.monotonic() - began
    rows = read_progress(storage.read(progress_file(RUN)))
    own = storage.read(f"{run_folder(RUN)}/{rows[-1].trial}/{PROGRESS_FILE}").decode()
    return Ending(
        seconds,
        status,
        aggregate=gaps([row.iteration for row in rows]),
        own=gaps([int(row["training_iteration"]) for row in csv.DictReader(own.splitlines())]),
        saved=PolicyStore(storage).newest().manifest.iteration == rows[-1].iteration,
    )
