"""Which process of a training run is killed, and when. Linux only."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

from pyarrow import fs

from benchmarks.support.processes import usage
from training.policy.manifest import MANIFEST_FILE
from training.store.checkpoint import CHECKPOINT
from training.store.storage import Storage

Target = Literal["whole cluster", "driver", "trial", "env runner"]
Moment = Literal["any", "checkpoint", "publishing"]

_PROCESS: Final = {
    "trial": "ray::DrivingPPO",
    "env runner": "ray::DrivingEnvRunner",
}
_POLICIES: Final = "policies"
_POLL_S: Final = 0.001


@dataclass(frozen=True)
class Kill:
    """One kill -9."""

    target: Target
    """The whole cluster is the driver with all the processes of its Ray."""
    moment: Moment
    """Any, or while storage shows a checkpoint or a policy of which a part is written."""


_KINDS: Final = (
    *[Kill("whole cluster", "any")] * 4,
    *[Kill("whole cluster", "checkpoint")] * 4,
    *[Kill("whole cluster", "publishing")] * 4,
    *[Kill("driver", "any")] * 2,
    *[Kill("driver", "publishing")],
    *[Kill("trial", "any")] * 2,
    *[Kill("trial", "checkpoint")],
    *[Kill("env runner", "any")] * 2,
)


def plan(kills: int, choices: random.Random) -> list[Kill]:
    """So many kills: of every kind its share, in an order drawn by chance.

    Args:
        kills: How many.
        choices: Draws the order.
    """
    step = max(1.0, len(_KINDS) / kills)
    chosen = [_KINDS[int(number * step) % len(_KINDS)] for number in range(kills)]
    choices.shuffle(chosen)
    return chosen


class Watch:
    """Sees what begins to be written to a run's folder from now on."""

    def __init__(self, storage: Storage, run: str) -> None:
        """Note what is there.

        Args:
            storage: Where the run is.
            run: Its folder, relative to the root; its trials are there already.
        """
        self._storage = storage
        trials = [name for name in storage.folders(run) if name != _POLICIES]
        self._above: dict[Moment, list[str]] = {
            "publishing": [f"{run}/{_POLICIES}"],
            "checkpoint": [f"{run}/{trial}" for trial in trials],
        }
        self._known = {folder for moment in self._above for folder in self._written(moment)}

    def wait(self, moment: Moment, goes_on: Callable[[], bool]) -> str | None:
        """Wait until something begins to be written; its folder, or None where nothing goes on."""
        while goes_on():
            # Not looked at more closely: in a bucket a policy would be whole by then.
            if new := self._written(moment) - self._known:
                return new.pop()
            time.sleep(_POLL_S)
        return None

    def _written(self, moment: Moment) -> set[str]:
        return {
            f"{above}/{name}"
            for above in self._above[moment]
            for name in (
                self._storage.folders(above)
                if moment == "publishing"
                else self._storage.files(above)
            )
            if moment == "publishing" or name.startswith(CHECKPOINT)
        }


def was_inside(storage: Storage, moment: Moment, path: str) -> bool:
    """Whether a kill left that policy's folder, or a checkpoint's temporary file, half written.

    In a bucket a checkpoint is never seen before it is complete.
    """
    info = storage.filesystem.get_file_info
    if moment == "publishing":
        return bool(info(storage.at(f"{path}/{MANIFEST_FILE}")).type == fs.FileType.NotFound)
    return path.endswith(".tmp") and bool(info(storage.at(path)).type == fs.FileType.File)


def victims(driver: int, target: Target) -> list[int]:
    """The processes to kill; raises LookupError where there is none of that sort."""
    if target == "driver":
        return [driver]
    family = usage(driver)
    if target == "whole cluster":
        # Not by process groups: Ray's workers have their own.
        return sorted(family)
    for pid, process in sorted(family.items()):
        if process.name.startswith(_PROCESS[target]):
            return [pid]
    raise LookupError(f"the run has no process {_PROCESS[target]}")


def kill(pids: Sequence[int]) -> None:
    """Kill -9."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
