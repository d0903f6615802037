"""CPU time, memory and open files of a command and its child processes. Linux only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """One process at one moment."""

    name: str
    seconds: float
    """Processor time since its start."""
    resident: int
    """Memory in bytes, shared pages included."""
    files: int
    """Open file descriptors."""


def usage(root: int) -> dict[int, Usage]:
    """The process with this id and all its descendants, by id."""
    read = {int(folder.name): _read(folder) for folder in _PROC.glob("[0-9]*")}
    known = {pid: found for pid, found in read.items() if found is not None}
    family = {root}
    # Parents may have larger ids than their children, once ids have gone round.
    while more := {pid for pid, (parent, _) in known.items() if parent in family} - family:
        family |= more
    return {pid: known[pid][1] for pid in family if pid in known}


def processor_seconds(before: Mapping[int, Usage], after: Mapping[int, Usage]) -> float:
    """Processor time between two moments, of the processes that are alive at the later one."""
    return sum(
        found.seconds - (before[pid].seconds if pid in before else 0.0)
        for pid, found in after.items()
    )


def _read(folder: Path) -> tuple[int, Usage] | None:
    """A process's parent and what it takes; None where it has ended meanwhile."""
    try:
        # The name, in brackets, may hold anything.
        stat = (folder / "stat").read_text().rpartition(")")[2].split()
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        files = sum(1 for _ in (folder / "fd").iterdir())
    except OSError:
        return None
    user, system, pages = int(stat[11]), int(stat[12]), int(stat[21])
    return int(stat[1]), Usage(command.strip(), (user + system) / _TICKS, pages * _PAGE, files)
