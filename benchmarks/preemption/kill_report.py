"""Report of a run that was killed again and again, and what did not hold."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from benchmarks.preemption.killed_training import INTERVAL, Looks
from benchmarks.preemption.kills import Kill, Moment
from benchmarks.preemption.policy_changes import TRACKS, summary
from benchmarks.preemption.run_ending import Ending

_WHILE: Final[dict[Moment, str]] = {
    "any": "at any moment",
    "checkpoint": "a checkpoint is written",
    "publishing": "a policy is published",
}


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
    looks: Looks = field(default_factory=Looks)
    changes: list[float] = field(default_factory=list)
    """Mean return of the first policy after each kill, less that of the last one before."""
    retries: list[str] = field(default_factory=list)
    """Why Ray did not start, each time that the command was begun again for that."""
    ending: Ending | None = None
    """None until the run has ended."""

    @property
    def resumed(self) -> list[Recovered]:
        """Those kills after which the run went on."""
        return [one for one in self.recovered if one.lost is not None]

    def broken_promises(self) -> list[str]:
        """What did not hold."""
        most = _most_lost(self.resumed)
        score = summary(self.changes)
        checks = {
            f"{len(self.resumed)} of {len(self.recovered)} resumed": (
                len(self.resumed) < len(self.recovered)
            ),
            f"{most} iterations lost at once": most > INTERVAL,
            f"{len(self.looks.broken)} broken looks": bool(self.looks.broken),
            "policies around a kill were not measured": score is None,
            "policies fell: {:+.1f} ± {:.1f}".format(*score or (0.0, 0.0)): (
                score is not None and score[0] < -2 * score[1]
            ),
            "the run was not told to end": self.ending is None,
        }
        faults = [fault for fault, holds in checks.items() if holds]
        return faults + (self.ending.broken_promises() if self.ending else [])

    def table(self) -> str:
        """The report as Markdown."""
        kinds = sorted({one.kill for one in self.recovered}, key=str)
        lines = [
            "| kill -9 of | while | kills | half written then | resumed "
            "| iterations lost, at most | seconds until it trained on, median |",
            "|---|---|---|---|---|---|---|",
            *(_row(kind, [one for one in self.recovered if one.kill == kind]) for kind in kinds),
        ]
        score = summary(self.changes)
        reasons = [f"{count} × {reason}" for reason, count in Counter(self.retries).items()]
        told = {
            "resumed": f"{len(self.resumed)} of {len(self.recovered)}",
            "starts of Ray that failed, and were repeated": "; ".join(reasons) or "0",
            f"iterations lost at once, at most (a checkpoint is taken every {INTERVAL})": (
                f"{_most_lost(self.resumed)}"
            ),
            "mean return of the policy after a kill, less that of the one before, on "
            f"{len(TRACKS)} tracks": (
                "not measured" if score is None else "{:+.1f} ± {:.1f}".format(*score)
            ),
            "looks at the published policies, policies read": (
                f"{self.looks.looks:,}, {self.looks.policies:,}"
            ),
            "broken ones among them": f"{len(self.looks.broken)}",
        }
        told |= self.ending.told() if self.ending else {}
        lines += ["", "| what | came out |", "|---|---|"]
        lines += [f"| {what} | {came_out} |" for what, came_out in told.items()]
        return "\n".join(lines)


def _row(kind: Kill, of: list[Recovered]) -> str:
    """The row of kills of one kind."""
    resumed = [one for one in of if one.lost is not None]
    hits = "–" if kind.moment == "any" else str(sum(one.hit for one in of))
    seconds = f"{median(one.seconds for one in resumed):.1f}" if resumed else "–"
    return (
        f"| {kind.target} | {_WHILE[kind.moment]} | {len(of)} | {hits} | {len(resumed)} "
        f"| {_most_lost(resumed)} | {seconds} |"
    )


def _most_lost(resumed: list[Recovered]) -> int:
    return max((one.lost or 0 for one in resumed), default=0)
