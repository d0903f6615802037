from __future__ import annotations

import gc
import os
from pathlib import Path

from training.simulator import FastCarRacing
from training.simulator.fast_car import FastCar


def resident_kb() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e3


def test_cars_leave_no_memory_behind() -> None:
    env = FastCarRacing(lazy=True)
    env.reset(seed=0)

    def make_cars(count: int) -> None:
        for _ in range(count):
            FastCar(env.world, 0.0, 500.0, 500.0, traces=False).destroy()  # type: ignore[no-untyped-call]

    make_cars(300)
    before = resident_kb()
    make_cars(1500)
    # Gymnasium's own car leaves 2.4 kB behind each time.
    assert (resident_kb() - before) / 1500 < 0.5
