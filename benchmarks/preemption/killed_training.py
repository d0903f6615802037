"""A training command that is restarted when it ends, and a reader of its published policies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.support.running import inherited
from training.policy.published import BrokenPolicyError
from training.store.layout import PolicyRef
from training.store.policies import PolicyStore

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
_NO_RAY: Final = re.compile(
    r"The current node timed out during startup"
    r"|Failed to start GCS"
    r"|Failed to register worker to Raylet"
)
"""What Ray says where it did not come up in the half minute that it gives itself, as on a busy
machine: that is not the run's fault, and a job would be begun again."""


def training(root: str) -> list[str]:
    """The command that trains, and stores under that root."""
    return [sys.executable, "-m", "training.train", "--results-dir", root, *_OPTIONS]


class Command:
    """A training command, begun again and again."""

    _LINE = re.compile(r"iteration\s+(\d+)/")

    def __init__(
        self, arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Begin.

        Args:
            arguments: The command's.
            log: The file that what it says is appended to.
            environment: Variables besides those of this process.
        """
        self._arguments = arguments
        self._environment = inherited() | {"RAY_ADDRESS": "local"} | dict(environment or {})
        self._log = log
        self._groups: list[int] = []
        self._begun_at = 0
        """Where the log of the last beginning begins."""
        self.retries: list[str] = []
        """Why Ray did not start, each time that the command was begun again for that."""
        self.process = self._begin()

    def _begin(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            self._begun_at = log.tell()
            process = subprocess.Popen(  # noqa: S603
                self._arguments,
                env=self._environment,
                cwd=Path(__file__).parents[2],
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

    def why_ray_did_not_start(self) -> str | None:
        """What Ray said of that since the last beginning, if it did."""
        with self._log.open("rb") as log:
            log.seek(self._begun_at)
            found = _NO_RAY.search(log.read().decode(errors="replace"))
        return found and found[0]

    def wait_for(self, count: int) -> bool:
        """Wait until it has told of so many iterations; whether it has.

        Where it ended because Ray did not start it is begun again; at any other end it has failed.
        """
        deadline = time.monotonic() + _SETTLE_S
        while time.monotonic() < deadline:
            # Asked first: what has ended has told of all that it will.
            ended = not self.alive()
            if len(self.iterations()) >= count:
                return True
            if ended:
                reason = self.why_ray_did_not_start()
                if reason is None or len(self.retries) == _RETRIES:
                    return False
                self.retries.append(reason)
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
def reader(root: str, looks: Looks) -> Iterator[None]:
    """Look at the published policies until left."""
    over = threading.Event()

    def look() -> None:
        store = PolicyStore.open(root)
        while not over.wait(0.05):
            look_once(store, looks)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def look_once(store: PolicyStore, looks: Looks) -> None:
    """Read the latest policy, the list of all, and in turn every one of these."""
    try:
        latest = store.latest_ref()
        if latest is None:
            if looks.policies:
                looks.broken.append("there is no latest policy any more")
            return
        store.fetch(latest)
        listing = store.listing()
        looks.broken += listing.broken.values()
        one = listing.policies[looks.looks % len(listing.policies)]
        store.fetch(PolicyRef(run=one.run, version=one.version))
    except (BrokenPolicyError, OSError) as error:
        looks.broken.append(str(error))
    looks.looks += 1
    looks.policies += 2
