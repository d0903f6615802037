from __future__ import annotations

import subprocess
import sys

# In a process of its own: other tests leave threads behind that allocate memory meanwhile.
SCRIPT = """
import gc
import resource
import sys

from training.simulator import FastCarRacing
from training.simulator.physics.fast_car import FastCar

env = FastCarRacing(lazy=True)
env.reset(seed=0)


def make_cars(count):
    for _ in range(count):
        FastCar(env.world, 0.0, 500.0, 500.0, traces=False).destroy()
    gc.collect()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


before = make_cars(300)
unit = 1024 if sys.platform == "darwin" else 1
print((make_cars(1500) - before) / unit)
"""


def test_cars_leave_no_memory_behind() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    # Gymnasium's own car leaves 2.4 kB behind each time.
    assert float(done.stdout) / 1500 < 0.5
