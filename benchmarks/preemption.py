"""Training that is killed again and again: does it go on, and is anything lost?

    python -m benchmarks.preemption
    python -m benchmarks.preemption --kills 3     a quick look

A real run, small enough that an iteration takes about a second, is killed (-9) at moments drawn by
chance, some of them while a checkpoint is being written or a policy published. What ended is begun
again by the same command. A reader looks at the published policies all the while. At the end the
run is told to end (SIGTERM), and the policies before and after each kill drive the same tracks:
what training itself reports falls at a resume, since of episodes that begin anew the bad ones end
first. Exit status 1 where something did not hold.
"""

from __future__ import annotations

import csv
import math
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Final

import tyro

from benchmarks.killed_training import INTERVAL, RUN, Command, Looks, reader, training
from benchmarks.kills import Kill, Moment, Watch, kill, plan, victims, was_inside
from training.layout import PolicyRef
from training.policy import Policy
from training.progress import read_progress
from training.rollout import drive
from training.storage import Storage
from training.store import PolicyStore

_NOTICE_S: Final = 30.0
"""From SIGTERM until the run has ended."""
_WHILE: Final[dict[Moment, str]] = {
    "any": "at any moment",
    "checkpoint": "a checkpoint is written",
    "publishing": "a policy is published",
}
_TRAINED_ON: Final = 3
"""Iterations that a run has to tell of before it counts as resumed."""
_TRACKS: Final = range(8)
"""Where the policies around a kill are compared."""


@dataclass(frozen=True)
class Options:
    """How often, and what chance draws."""

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


@dataclass
class Recovered:
    """What came of one kill."""

    kill: Kill
    hit: bool
    """Whether it was at the moment that was meant."""
    lost: int | None = None
    """Iterations that were trained again; None where the run did not go on."""
    restored: int = 0
    """The iteration that it went on from."""
    seconds: float = math.nan
    """From the kill to the next iteration's end, the start of Ray included."""


@dataclass
class Report:
    """All that came of a run."""

    recovered: list[Recovered] = field(default_factory=list)
    aggregate: tuple[int, int] = (0, 0)
    """Missing and doubled rows of the run's table."""
    own: tuple[int, int] = (0, 0)
    """The same of the trial's own."""
    looks: Looks = field(default_factory=Looks)
    changes: list[float] = field(default_factory=list)
    """Mean return of the first policy after each kill, less that of the last one before."""
    notice_s: float = math.nan
    status: int | None = None
    """The exit status after SIGTERM."""
    retries: list[str] = field(default_factory=list)
    """Why Ray did not start, each time that the command was begun again for that."""
    saved: bool = False
    """Whether the newest policy is of the last iteration then."""

    def broken_promises(self) -> list[str]:
        """What did not hold."""
        resumed = [one for one in self.recovered if one.lost is not None]
        most = max((one.lost or 0 for one in resumed), default=0)
        score = summary(self.changes)
        checks = {
            f"{len(resumed)} of {len(self.recovered)} resumed": len(resumed) < len(self.recovered),
            f"{most} iterations lost at once": most > INTERVAL,
            f"rows missing, doubled: {self.aggregate} of the run": any(self.aggregate),
            f"rows missing, doubled: {self.own} of the trial": any(self.own),
            f"{len(self.looks.broken)} broken looks": bool(self.looks.broken),
            "policies around a kill were not measured": score is None,
            "policies fell: {:+.1f} ± {:.1f}".format(*score or (0.0, 0.0)): (
                score is not None and score[0] < -2 * score[1]
            ),
            f"SIGTERM took {self.notice_s:.1f} s": not self.notice_s <= _NOTICE_S,
            f"SIGTERM ended with status {self.status}": self.status != 128 + signal.SIGTERM,
            "SIGTERM did not save and publish": not self.saved,
        }
        return [fault for fault, holds in checks.items() if holds]


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


def gaps(iterations: Sequence[int]) -> tuple[int, int]:
    """Rows that are missing, and that are there twice or more."""
    there = set(iterations)
    return max(there, default=0) - len(there), len(iterations) - len(there)


def around(iterations: Collection[int], restored: int) -> tuple[int, int] | None:
    """The last published policy up to a resume and the first one after it, by iteration.

    None where one of them is missing.
    """
    before = [each for each in iterations if each <= restored]
    after = [each for each in iterations if each > restored]
    return (max(before), min(after)) if before and after else None


def changes_of_score(store: PolicyStore, recovered: Sequence[Recovered]) -> list[float]:
    """How the mean return on the same tracks changed from policy to policy, at each resume."""
    # Of an iteration that was trained twice the later one holds.
    refs = {
        manifest.iteration: PolicyRef(run=manifest.run, version=manifest.version)
        for manifest in reversed(store.listing().policies)
    }

    @cache
    def score(iteration: int) -> float:
        policy = Policy.from_published(store.fetch(refs[iteration]))
        return fmean(drive(policy, seed, simulator="fast").score for seed in _TRACKS)

    pairs = [around(refs, one.restored) for one in recovered if one.lost is not None]
    return [score(after) - score(before) for before, after in filter(None, pairs)]


def summary(changes: Sequence[float]) -> tuple[float, float] | None:
    """Their mean and its standard error; None where there are too few for one."""
    if len(changes) < 2:
        return None
    return fmean(changes), stdev(changes) / math.sqrt(len(changes))


def strike(command: Command, run: Path, one: Kill, wait_s: float) -> tuple[Recovered, int, int]:
    """Kill, and begin again where that, and nothing else, ended the run.

    Returns:
        What is known of it so far, the last iteration before, and how many had been told of.
    """
    watch = Watch(run)
    folder = None
    if one.moment == "any":
        time.sleep(wait_s)
        pids = victims(command.process.pid, one.target)
    else:
        pids = victims(command.process.pid, one.target)
        folder = watch.wait(one.moment, command.alive)
    kill(pids)
    hit = one.moment == "any" or (folder is not None and was_inside(one.moment, folder))
    if one.target in ("driver", "whole cluster") and command.process.wait() == -signal.SIGKILL:
        command.again()
    told = command.iterations()
    return Recovered(one, hit), told[-1], len(told)


def carry_out(options: Options, root: Path) -> Report:
    """Train and kill, and see what comes of it."""
    choices = random.Random(options.seed)  # noqa: S311
    report = Report()
    run = root / "runs" / RUN
    storage = Storage.open(str(root))
    command = Command(training(root), root / "log")
    try:
        with reader(root, report.looks):
            if not command.wait_for(INTERVAL + 1):
                raise SystemExit((root / "log").read_text()[-3000:])
            for one in plan(options.kills, choices):
                result, last, told = strike(
                    command, run, one, choices.uniform(0.0, options.longest_s)
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
            _notice(command, report)
    finally:
        command.end()
    _look_at_tables(storage, run, report)
    report.changes = changes_of_score(PolicyStore(storage), report.recovered)
    return report


def _notice(command: Command, report: Report) -> None:
    """Tell the run to end."""
    began = time.monotonic()
    command.process.terminate()
    with suppress(subprocess.TimeoutExpired):
        report.status = command.process.wait(2 * _NOTICE_S)
    report.notice_s = time.monotonic() - began


def _look_at_tables(storage: Storage, run: Path, report: Report) -> None:
    rows = read_progress(storage.read(f"runs/{RUN}/progress.csv"))
    report.aggregate = gaps([row.iteration for row in rows])
    (own,) = run.glob("*/progress.csv")
    with own.open(newline="") as file:
        report.own = gaps([int(row["training_iteration"]) for row in csv.DictReader(file)])
    newest = PolicyStore(storage).newest().manifest.iteration
    report.saved = newest == rows[-1].iteration


def table(report: Report) -> str:
    """The report as Markdown."""
    lines = [
        "| kill -9 of | while | kills | half written then | resumed | iterations lost, at most "
        "| seconds until it trained on, median |",
        "|---|---|---|---|---|---|---|",
    ]
    kinds = sorted({one.kill for one in report.recovered}, key=str)
    for kind in kinds:
        of = [one for one in report.recovered if one.kill == kind]
        resumed = [one for one in of if one.lost is not None]
        hits = "–" if kind.moment == "any" else str(sum(one.hit for one in of))
        lost = max((one.lost or 0 for one in resumed), default=0)
        seconds = f"{median(one.seconds for one in resumed):.1f}" if resumed else "–"
        lines.append(
            f"| {kind.target} | {_WHILE[kind.moment]} | {len(of)} | {hits} | {len(resumed)} "
            f"| {lost} | {seconds} |"
        )
    resumed = [one for one in report.recovered if one.lost is not None]
    score = summary(report.changes)
    change = "not measured" if score is None else "{:+.1f} ± {:.1f}".format(*score)
    reasons = [f"{count} × {reason}" for reason, count in Counter(report.retries).items()]
    lines += [
        "",
        "| what | came out |",
        "|---|---|",
        f"| resumed | {len(resumed)} of {len(report.recovered)} |",
        f"| starts of Ray that failed, and were repeated | {'; '.join(reasons) or '0'} |",
        f"| iterations lost at once, at most (a checkpoint is taken every {INTERVAL}) "
        f"| {max((one.lost or 0 for one in resumed), default=0)} |",
        f"| rows missing, doubled in the run's progress.csv | {report.aggregate[0]}, "
        f"{report.aggregate[1]} |",
        f"| rows missing, doubled in the trial's own | {report.own[0]}, {report.own[1]} |",
        f"| mean return of the policy after a kill, less that of the one before, on "
        f"{len(_TRACKS)} tracks | {change} |",
        f"| looks at the published policies, policies read | {report.looks.looks:,}, "
        f"{report.looks.policies:,} |",
        f"| broken ones among them | {len(report.looks.broken)} |",
        f"| SIGTERM: seconds until it ended, status, saved and published | "
        f"{report.notice_s:.1f}, {report.status}, {'yes' if report.saved else 'no'} |",
    ]
    return "\n".join(lines)


def main() -> None:
    """Train, kill, and print what came of it."""
    options = tyro.cli(Options, description=__doc__)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        report = carry_out(options, Path(folder))
    minutes = (time.monotonic() - began) / 60
    print(f"\n{options.kills} kills, seed {options.seed}, {minutes:.0f} minutes\n")
    print(table(report))
    if faults := report.broken_promises():
        raise SystemExit("did not hold: " + "; ".join(faults))


if __name__ == "__main__":
    main()
