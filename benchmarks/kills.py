"""What is killed of a training run, and at which moment. Linux only."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pyarrow import fs

from benchmarks.processes import usage
from training.manifest import MANIFEST_FILE
from training.whole_checkpoint import LIST_FILE, BrokenCheckpointError, verify

Target = Literal["whole cluster", "driver", "trial", "env runner"]
Moment = Literal["any", "checkpoint", "publishing"]

_PROCESS: Final = {"trial": "ray::DrivingPPO", "env runner": "ray::SingleAgentEnvRunner"}
_WATCHED: Final[tuple[Moment, ...]] = ("checkpoint", "publishing")
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
    """So many kills: of every kind its share, in an order drawn by chance."""
    step = max(1.0, len(_KINDS) / kills)
    chosen = [_KINDS[int(number * step) % len(_KINDS)] for number in range(kills)]
    choices.shuffle(chosen)
    return chosen


class Watch:
    """Sees what begins to be written to a run's folder from now on."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._known = {moment: self._begun(moment) for moment in _WATCHED}

    def wait(self, moment: Moment, goes_on: Callable[[], bool]) -> Path | None:
        """Wait until something is half written; its folder, or None where nothing goes on."""
        while goes_on():
            if new := self._begun(moment) - self._known[moment]:
                return new.pop()
            time.sleep(_POLL_S)
        return None

    def _begun(self, moment: Moment) -> set[Path]:
        if moment == "publishing":
            return set(self._run.glob("policies/*"))
        return {
            folder
            for folder in self._run.glob("*/checkpoint_*")
            if not (folder / LIST_FILE).exists()
        }


def was_inside(moment: Moment, folder: Path) -> bool:
    """Whether a kill left that folder half written, as it was to."""
    if moment == "publishing":
        return not (folder / MANIFEST_FILE).exists()
    try:
        verify(fs.LocalFileSystem(), str(folder))
    except BrokenCheckpointError:
        return True
    return False


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
