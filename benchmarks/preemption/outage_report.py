"""Report of a training run whose storage was away, and what did not hold."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.preemption.killed_training import INTERVAL, Looks
from benchmarks.preemption.run_ending import Ending

_JUDGED_S: Final = 60.0
"""From so long on something is to be trained meanwhile: where storage hangs, an iteration waits
some seconds for its tables, its checkpoint and Tune's state."""


@dataclass
class Outage:
    """One absence of storage. Until something is known of it, it has gone wrong."""

    gone_after: int
    """The last iteration that the run had told of when storage went."""
    back_after: int = 0
    """The same when it came back."""
    away_s: float = math.nan
    told: Sequence[int] = ()
    """All iterations, as the run told of them."""
    stayed: bool = False
    """Whether one process of the driver lived from before storage went until it was told to end."""
    policy_s: float = math.inf
    """From storage's return until a policy was published that is at least as new as the newest
    that was due then."""
    published_after: int = 0
    """The iteration of that policy."""
    checkpoint_s: float = math.inf
    """The same until such a checkpoint was stored."""
    lost: Sequence[str] = ()
    """Why policies cannot be read that were published before storage went."""
    published: Collection[int] = ()
    """Iterations of all policies in the end."""
    looks: Looks = field(default_factory=Looks)
    ending: Ending | None = None
    """None where the run could not be told to end."""

    def trained(self) -> tuple[int, int, int]:
        """Iterations that ended before storage went, while it was away, and after that."""
        before = sum(each <= self.gone_after for each in self.told)
        until_back = sum(each <= self.back_after for each in self.told)
        return before, until_back - before, len(self.told) - until_back

    def unpublished(self) -> tuple[list[int], list[int], list[int]]:
        """Iterations due for publication without a policy.

        Those that ended before storage went; those whose checkpoint or policy it may have refused;
        and those after the first policy that was published when it was back.
        """
        last = max(self.told, default=0)
        missing = [
            each for each in range(INTERVAL, last + 1, INTERVAL) if each not in self.published
        ]
        # The last one before may have been stored or published when storage went.
        return (
            [each for each in missing if each < self.gone_after],
            [each for each in missing if self.gone_after <= each <= self.published_after],
            [each for each in missing if each > max(self.gone_after, self.published_after)],
        )

    def broken_promises(self) -> list[str]:
        """What did not hold."""
        _, during, after = self.trained()
        early, _, late = self.unpublished()
        again = len(self.told) - len(set(self.told))
        checks = {
            "the run did not live until it was told to end": not self.stayed,
            "nothing was trained while storage was away": (not during and self.away_s >= _JUDGED_S),
            "nothing was trained after that": not after,
            f"{again} iterations were trained again": again > 0,
            "no new policy was published": math.isinf(self.policy_s),
            "no new checkpoint was stored": math.isinf(self.checkpoint_s),
            f"policies were lost: {'; '.join(self.lost)}": bool(self.lost),
            f"iterations {early} from before were not published": bool(early),
            f"iterations {late} from after it were not published": bool(late),
            f"{len(self.looks.broken)} broken looks": bool(self.looks.broken),
            "nobody looked": not self.looks.looks,
            "the run was not told to end": self.ending is None,
        }
        faults = [fault for fault, holds in checks.items() if holds]
        return faults + (self.ending.broken_promises() if self.ending else [])

    def told_of(self) -> dict[str, str]:
        """The report for a table: what, and how it came out."""
        early, refused, late = map(len, self.unpublished())
        due = max(self.told, default=0) // INTERVAL
        told = {
            "seconds that storage was away": f"{self.away_s:.0f}",
            "iterations before, while it was away, after": "{}, {}, {}".format(*self.trained()),
            "the process lived on": "yes" if self.stayed else "no",
            "iterations trained again": f"{len(self.told) - len(set(self.told))}",
            "seconds from its return until what was due is published, until it is stored": (
                f"{self.policy_s:.1f}, {self.checkpoint_s:.1f}"
            ),
            f"due for publication (every {INTERVAL} iterations)": f"{due}",
            "of these never published: from before, refused, from after": (
                f"{early}, {refused}, {late}"
            ),
            "policies from before that are lost": f"{len(self.lost)}",
            "looks at the published policies, policies read": (
                f"{self.looks.looks:,}, {self.looks.policies:,}"
            ),
            "broken ones among them": f"{len(self.looks.broken)}",
        }
        return told | (self.ending.told() if self.ending else {})


def table(outages: Mapping[str, Outage]) -> str:
    """All of them as one Markdown table, a column each."""
    columns = [outage.told_of() for outage in outages.values()]
    rows = [["connections are", *outages]]
    rows += [[what, *(column.get(what, "–") for column in columns)] for what in columns[0]]
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])
