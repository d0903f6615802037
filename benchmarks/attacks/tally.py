"""Counts of requests, responses and faults."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from typing import Final

_NO_ROOM: Final = ("503", "1013")
"""What says so: a status, and the code with which a drive is closed."""
_REFUSED: Final = 0.05
"""The share of a kind that may be: of more, what they were sent for was not seen."""
_SHOWN: Final = 5
"""Violations of a kind that are named."""


class Tally:
    """Counts answers and violations by kind."""

    def __init__(self) -> None:
        self._answers: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._faults: defaultdict[str, Counter[str]] = defaultdict(Counter)

    @property
    def faulty(self) -> bool:
        """Whether anything was wrong."""
        return bool(self._faults)

    def note(self, kind: str, answer: str, fault: str) -> None:
        """One more: what was answered, in a word or none, and what was wrong, or nothing."""
        self._answers[kind][answer] += 1
        if fault:
            self._faults[kind][fault] += 1

    def crowded_out(self, meant: Collection[str]) -> str:
        """The kinds of which too many found no room, a line each, but for those where it is meant.

        Args:
            meant: Those kinds.
        """
        found = (
            (kind, sum(answers[each] for each in _NO_ROOM), answers.total())
            for kind, answers in sorted(self._answers.items())
            if kind not in meant
        )
        return "\n".join(
            f"{refused:,} of {sent:,} × {kind}: refused for want of room"
            for kind, refused, sent in found
            if refused > _REFUSED * sent
        )

    def table(self) -> str:
        """Markdown."""
        lines = ["| kind | sent | answers | violations |", "|---|---|---|---|"]
        for kind, answers in sorted(self._answers.items()):
            said = ", ".join(f"{name} × {n:,}" for name, n in sorted(answers.items()) if name)
            wrong = self._faults[kind].total() if kind in self._faults else 0
            lines.append(f"| {kind} | {answers.total():,} | {said} | {wrong:,} |")
        together = sum(answers.total() for answers in self._answers.values())
        wrong = sum(faults.total() for faults in self._faults.values())
        return "\n".join([*lines, f"| all | {together:,} | | {wrong:,} |"])

    def violations(self) -> str:
        """The most frequent ones of each kind, a line each."""
        return "\n".join(
            f"{times} × {kind}: {fault}"
            for kind, faults in sorted(self._faults.items())
            for fault, times in faults.most_common(_SHOWN)
        )
