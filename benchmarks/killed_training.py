"""A training command that is begun again when it has ended, and a reader of what it publishes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.running import inherited
from training.store import BrokenPolicyError, NoPolicyError, PolicyRef, PolicyStore

RUN: Final = "preempted"
INTERVAL: Final = 2
"""Iterations between checkpoints."""
_OPTIONS: Final = (
    *("--recipe", "swift", "--skip-asha", "--num-gpus", "0", "--run-name", RUN),
    *("--train-batch-size-per-learner", "256", "--minibatch-size", "128", "--num-epochs", "1"),
    *("--num-env-runners", "2", "--num-envs-per-env-runner", "2"),
    *("--max-iters", "100000", "--finetune-at", "50000"),
    *("--checkpoint-every", str(INTERVAL)),
)
_SETTLE_S: Final = 400.0
"""A run that has not trained on after so long has not resumed."""
_RETRIES: Final = 5
"""On a busy machine Ray itself may not come up in the half minute that it gives itself."""


class Command:
    """The training command, begun again and again."""

    _LINE = re.compile(r"iteration\s+(\d+)/")

    def __init__(self, root: Path, log: Path) -> None:
        self._root = root
        self._log = log
        self._groups: list[int] = []
        self.retries = 0
        """How often it ended by itself and was begun again, as a job is."""
        self.process = self._begin()

    def _begin(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "training.train", "--results-dir", self._root, *_OPTIONS],
                env=inherited() | {"RAY_ADDRESS": "local"},
                cwd=Path(__file__).parent.parent,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        self._groups.append(process.pid)
        return process

    def iterations(self) -> list[int]:
        """Those that it has told of, since the first beginning."""
        return [int(found) for found in self._LINE.findall(self._log.read_text())]

    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def again(self) -> None:
        """Begin again."""
        self.process.wait()
        self.process = self._begin()

    def wait_for(self, count: int) -> bool:
        """Wait until it has told of so many iterations; whether it has."""
        deadline = time.monotonic() + _SETTLE_S
        while time.monotonic() < deadline:
            if len(self.iterations()) >= count:
                return True
            if not self.alive():
                if self.retries == _RETRIES:
                    return False
                self.retries += 1
                self.again()
            time.sleep(0.1)
        return False

    def end(self) -> None:
        """End it, and what a driver that was killed has left behind."""
        for group in self._groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        self.process.wait()


@dataclass
class Looks:
    """What a reader of the published policies saw."""

    looks: int = 0
    policies: int = 0
    broken: list[str] = field(default_factory=list)


@contextmanager
def reader(root: Path, looks: Looks) -> Iterator[None]:
    """Look at the published policies until left."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            look_once(root, looks)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def look_once(root: Path, looks: Looks) -> None:
    """Read the newest policy, the list of all, and in turn every one of these."""
    store = PolicyStore.open(str(root))
    try:
        store.newest()
    except NoPolicyError as error:
        if looks.policies:
            looks.broken.append(str(error))
        return
    listing = store.listing()
    looks.broken += listing.broken.values()
    one = listing.policies[looks.looks % len(listing.policies)]
    try:
        store.fetch(PolicyRef(run=one.run, version=one.version))
    except (BrokenPolicyError, FileNotFoundError) as error:
        looks.broken.append(str(error))
    looks.looks += 1
    looks.policies += 2
