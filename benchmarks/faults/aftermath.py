"""Summarize what callers saw of a fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import isnan
from typing import Final

from benchmarks.support.load import quantile
from benchmarks.support.steady import REFUSED, Call


@dataclass(frozen=True)
class Report:
    """What became of the requests around a fault."""

    requests: int
    failed_raw: int
    """That failed at the first attempt."""
    how: str
    """Outcomes of all attempts that failed, by number."""
    failed: int
    """That failed for good."""
    p99_ms: tuple[float, float, float]
    """What callers waited for requests from before, during and after the fault."""
    failures_s: float
    """From the fault to the last attempt that failed; 0 where none did."""
    whole_s: float
    """From the fault until every process was in place again."""

    def row(self, title: str) -> str:
        """As a line of a table."""
        waits = " | ".join("" if isnan(wait) else f"{wait:.0f}" for wait in self.p99_ms)
        return (
            f"| {title} | {self.requests:,} | {self.failed_raw} | {self.how} | {self.failed} | "
            f"{waits} | {self.failures_s:.1f} | {self.whole_s:.1f} |"
        )


HEAD: Final = (
    "| fault | requests | failed at first | how | failed after retries | p99 before, ms | during "
    "| after | last failure after, s | whole after, s |\n" + "|---" * 10 + "|"
)


def sum_up(calls: Iterable[Call], begin: float, whole: float) -> Report:
    """What the calls around a fault come to.

    Args:
        calls: All of them.
        begin: When the fault began.
        whole: When every process was in place again.
    """
    calls = list(calls)
    failures = [call.failed_at for call in calls if call.failed_at is not None]
    end = max([whole, *failures])
    phases = (
        [call for call in calls if call.due < begin],
        [call for call in calls if begin <= call.due < end],
        [call for call in calls if call.due >= end],
    )
    first, second, third = (_p99_ms(phase) for phase in phases)
    return Report(
        requests=len(calls),
        failed_raw=sum(not call.raw for call in calls),
        how=outcomes(calls),
        failed=sum(not call.answered for call in calls),
        p99_ms=(first, second, third),
        failures_s=max(failures, default=begin) - begin,
        whole_s=whole - begin,
    )


def outcomes(calls: Iterable[Call]) -> str:
    """How attempts failed, by number."""
    counted = Counter(each for call in calls for each in call.outcomes if each != "200")
    return ", ".join(f"{times} × {each}" for each, times in counted.most_common())


def _p99_ms(calls: Iterable[Call]) -> float:
    return 1000 * quantile(sorted(call.seconds for call in calls if call.answered), 0.99)


@dataclass(frozen=True)
class End:
    """What became of the requests around the end of the service."""

    answered: int
    refused: int
    """That were sent after it was told to, and told to come back or found nobody."""
    failed: list[str]
    """Outcomes of all others."""

    def sentence(self) -> str:
        """In words."""
        counted = Counter(self.failed).most_common()
        return (
            f"Around its end the service answered {self.answered:,} requests; {self.refused:,} "
            f"later ones were refused or found nobody; {len(self.failed)} failed"
            + "".join(f", {times} × {how}" for how, times in counted)
        )


def judge_end(calls: Iterable[Call], told: float) -> End:
    """What is owed to requests around an end.

    One that was sent before the service was told to end has to be answered. One that is sent later
    may be told to come back, or find nobody listening, but it is not to be dropped.

    Args:
        calls: With one attempt each.
        told: When the service was told to end.
    """
    answered = refused = 0
    failed = []
    for call in calls:
        outcome = call.outcomes[0]
        if call.answered:
            answered += 1
        elif call.sent > told and outcome in (REFUSED, "503 later"):
            refused += 1
        else:
            failed.append(outcome)
    return End(answered, refused, failed)
