"""Memory of one environment, and its growth over resets."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Final

import numpy as np

from training.environment.pipeline import make_env

_ENVIRONMENTS: Final = 8
_REPORTS: Final = 10


def _resident() -> float:
    """Memory of this process in MB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def report(resets: int) -> None:
    """Print the memory of an environment, then of this process over many resets."""
    action = np.array((0, 0.5, 0), np.float32)
    envs = [make_env()]
    envs[0].reset(seed=0)  # makes what all environments share
    before = _resident()
    for seed in range(1, _ENVIRONMENTS + 1):
        envs.append(make_env())
        envs[-1].reset(seed=seed)
        for _ in range(20):
            envs[-1].step(action)
    print(f"\none more environment takes {(_resident() - before) / _ENVIRONMENTS:.1f} MB\n")
    print("| resets | memory of the process, MB |")
    print("|---|---|")
    env = envs[0]
    for count in range(resets + 1):
        if count % max(resets // _REPORTS, 1) == 0:
            print(f"| {count:,} | {_resident():.1f} |", flush=True)
        env.reset()
        for _ in range(3):
            env.step(action)
