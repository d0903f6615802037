"""How many CPUs this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def available_cpus(root: Path = Path("/")) -> int:
    """Count the CPUs that this process may use: its affinity, limited by its container's quota.

    ``os.cpu_count`` counts those of the machine, and Python 3.11 has nothing for the others.

    Args:
        root: Where ``proc`` and ``sys`` are mounted.
    """
    # macOS has no affinity.
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min([cpus or 1, *(max(1, math.ceil(quota)) for quota in _quotas(root))])


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quotas of this process's control groups, in CPUs."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for group in groups:
        _, controllers, path = group.split(":", 2)
        version_2 = not controllers
        if not version_2 and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("" if version_2 else "cpu")
        own = PurePosixPath(path.lstrip("/"))
        # The quotas of the groups above apply too. A container may see its own group mounted as
        # the highest one, under a path that the host has.
        for each in (own, *own.parents):
            try:
                if version_2:
                    quota, period = (mount / each / "cpu.max").read_text().split()
                else:
                    quota = (mount / each / "cpu.cfs_quota_us").read_text().strip()
                    period = (mount / each / "cpu.cfs_period_us").read_text()
            except OSError:
                continue
            if quota not in ("max", "-1"):
                yield int(quota) / int(period)
