"""Memory and open files of processes over time, as a table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from statistics import linear_regression, median
from typing import Final

from benchmarks.support.processes import Usage

_MIB: Final = 1024 * 1024
_PATH: Final = re.compile(r"\S*/")


@dataclass(frozen=True)
class Sample:
    """A family of processes at one moment."""

    minutes: float
    processes: dict[int, Usage]


def growth(samples: list[Sample]) -> str:
    """Markdown: of each process that was there all the time, thirds compared, and slopes.

    Args:
        samples: Three or more, in order.
    """
    lines = [
        "| process | memory, MiB: first third | last third | slope, MiB/h "
        "| files: first third | last third | slope, 1/h |",
        "|---" * 7 + "|",
    ]
    always = set.intersection(*(set(sample.processes) for sample in samples))
    hours = [sample.minutes / 60 for sample in samples]
    # The largest first.
    for pid in sorted(always, key=lambda pid: -samples[-1].processes[pid].resident):
        taken = [sample.processes[pid] for sample in samples]
        lines.append(_row(_short(taken[-1].name), taken, hours))
    together = [
        Usage(
            name="",
            seconds=sum(each.seconds for each in sample.processes.values()),
            resident=sum(each.resident for each in sample.processes.values()),
            files=sum(each.files for each in sample.processes.values()),
        )
        for sample in samples
    ]
    lines.append(_row("all together", together, hours))
    ended = {pid for sample in samples for pid in sample.processes} - always
    lines.append(f"\n{len(ended)} processes were there for a part of the time only")
    return "\n".join(lines)


def _row(name: str, taken: list[Usage], hours: list[float]) -> str:
    """Medians of the first and the last third, and slopes of the last two.

    Caches fill and libraries are loaded in the first one.
    """
    third = max(1, len(taken) // 3)
    columns = [name]
    for values in ([each.resident / _MIB for each in taken], [float(each.files) for each in taken]):
        slope = linear_regression(hours[third:], values[third:]).slope
        columns += [f"{median(values[:third]):.0f}", f"{median(values[-third:]):.0f}"]
        columns.append(f"{slope:+.1f}")
    return f"| {' | '.join(columns)} |"


def _short(command: str) -> str:
    """A command without folders, cut."""
    words = _PATH.sub("", command)
    return words[:60].replace("|", " ") or "?"
