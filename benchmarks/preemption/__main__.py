"""Kill a training run again and again: does it continue, and is anything lost?

    python -m benchmarks.preemption
    python -m benchmarks.preemption --storage s3
    python -m benchmarks.preemption --kills 3     a quick look

A real run, small enough that an iteration takes about a second, is killed with SIGKILL at random
moments, some of them while a checkpoint is written or a policy published. If that ends the command,
the same command is started again. A reader checks the published policies all the time. At the end
the run is stopped with SIGTERM, and the policies before and after each kill drive the same tracks:
reported returns fall at a resume, because among episodes that start anew the bad ones end first.
Exits with status 1 if something did not hold.
"""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import tyro

from benchmarks.preemption.kill_report import Recovered, Report
from benchmarks.preemption.killed_training import INTERVAL, RUN, Command, reader, training
from benchmarks.preemption.kills import Kill, Watch, kill, plan, victims, was_inside
from benchmarks.preemption.policy_changes import changes_of_score
from benchmarks.preemption.run_ending import end
from benchmarks.support.s3 import BUCKET, s3_server
from training.store.layout import run_folder
from training.store.policies import PolicyStore
from training.store.storage import Storage

_TRAINED_ON: Final = 3
"""Iterations that a run has to tell of before it counts as resumed."""


@dataclass(frozen=True)
class Options:
    """How often, and what chance draws."""

    storage: Literal["disk", "s3"] = "disk"
    """Where the run is kept: in a folder of this machine, or in a bucket of an S3 server on it."""
    kills: int = 20
    """Kills, of all sorts."""
    seed: int = 0
    """Of what is killed and when."""
    longest_s: float = 8.0
    """A kill at any moment comes at most so long after the run has trained on."""

    def __post_init__(self) -> None:
        """Refuse what says nothing."""
        if self.kills < 2 or self.longest_s <= 0:
            raise ValueError("--kills must be at least 2, and --longest-s above 0")


def resumption(before: int, after: Sequence[int]) -> tuple[int, int]:
    """Iterations trained again, and the one that a run went on from.

    Args:
        before: The last one before a kill.
        after: Those that ended after it; some of them may have been on their way.
    """
    last = before
    for iteration in after:
        if iteration <= last:
            return last - iteration + 1, iteration - 1
        last = iteration
    return 0, before


def strike(
    command: Command, storage: Storage, one: Kill, wait_s: float
) -> tuple[Recovered, int, int]:
    """Kill, and begin again where that, and nothing else, ended the run.

    Returns:
        What is known of it so far, the last iteration before, and how many had been told of.
    """
    watch = Watch(storage, run_folder(RUN))
    folder = None
    if one.moment == "any":
        time.sleep(wait_s)
        pids = victims(command.process.pid, one.target)
    else:
        pids = victims(command.process.pid, one.target)
        folder = watch.wait(one.moment, command.alive)
    kill(pids)
    hit = one.moment == "any" or (folder is not None and was_inside(storage, one.moment, folder))
    if one.target in ("driver", "whole cluster") and command.process.wait() == -signal.SIGKILL:
        command.again()
    told = command.iterations()
    return Recovered(one, hit), told[-1], len(told)


def carry_out(options: Options, root: str, log: Path) -> Report:
    """Train and kill, and see what comes of it.

    Args:
        options: How often, and what chance draws.
        root: The storage root.
        log: Where the run's own log goes.
    """
    choices = random.Random(options.seed)  # noqa: S311
    report = Report()
    storage = Storage.open(root)
    command = Command(training(root), log)
    try:
        with reader(root, report.looks):
            if not command.wait_for(INTERVAL + 1):
                raise SystemExit(log.read_text()[-3000:])
            for one in plan(options.kills, choices):
                result, last, told = strike(
                    command, storage, one, choices.uniform(0.0, options.longest_s)
                )
                began = time.monotonic()
                report.recovered.append(result)
                if not command.wait_for(told + 1):
                    break
                result.seconds = time.monotonic() - began
                if not command.wait_for(told + _TRAINED_ON):
                    break
                after = command.iterations()[told:]
                result.lost, result.restored = resumption(last, after)
                print(f"{len(report.recovered)}: {result}", flush=True)
            report.retries = command.retries
            report.ending = end(command, storage)
    finally:
        command.end()
    restored = [one.restored for one in report.resumed]
    report.changes = changes_of_score(PolicyStore(storage), restored)
    return report


def main() -> None:
    """Train, kill, and print what came of it."""
    options = tyro.cli(Options, description=__doc__)
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)
            )
        )
        root = str(folder)
        if options.storage == "s3":
            stack.enter_context(s3_server())
            root = BUCKET
        report = carry_out(options, root, folder / "log")
    minutes = (time.monotonic() - began) / 60
    print(
        f"\n{options.kills} kills, seed {options.seed}, storage {options.storage}, "
        f"{minutes:.0f} minutes\n"
    )
    print(report.table())
    if faults := report.broken_promises():
        raise SystemExit("did not hold: " + "; ".join(faults))


if __name__ == "__main__":
    main()
