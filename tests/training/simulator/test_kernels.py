"""Where the compiled code comes from, and what happens without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_DIGEST = """
import hashlib
import numpy as np
from training.simulator import FastCarRacing
env = FastCarRacing(lazy=True)
env.reset(seed=3)
digest = hashlib.sha256()
for _ in range(60):
    env.step(np.array((0.1, 0.5, 0), np.float32))
    digest.update(env.look_grey(84).tobytes())
print(digest.hexdigest())
"""

_LIKE_STOCK = """
import numpy as np
from training.environment.pipeline import UndrawnCarRacing
from training.simulator import FastCarRacing
FastCarRacing().close()
stock, fast = UndrawnCarRacing(), FastCarRacing(lazy=True)
stock.reset(seed=3)
fast.reset(seed=3)
for _ in range(5):
    for _ in range(4):
        action = np.array((0.1, 0.5, 0), np.float32)
        assert fast.step(action)[1:] == stock.step(action)[1:]
    np.testing.assert_array_equal(fast.look(), stock.look())
    np.testing.assert_array_equal(fast.look_grey(84), stock.look_grey(84))
assert fast.track == stock.track
"""


def start(script: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script],
        env=os.environ | {"PYGAME_HIDE_SUPPORT_PROMPT": "1"} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_compile_at_the_same_time_and_draw_the_same(tmp_path: Path) -> None:
    processes = [start(_DIGEST, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2)]
    digests = set()
    for process in processes:
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert err == ""
        digests.add(out)
    assert len(digests) == 1
    assert list(tmp_path.rglob("*.nbc"))


def test_without_numba_pictures_are_stocks_to_the_bit() -> None:
    process = start(_LIKE_STOCK, NUMBA_DISABLE_JIT="1")
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert len(err.splitlines()) == 1, "one warning"
    assert "NUMBA_DISABLE_JIT" in err


def test_importing_the_simulator_does_not_import_numba() -> None:
    script = "import sys, training.simulator; assert 'numba' not in sys.modules"
    process = start(script)
    _, err = process.communicate()
    assert process.returncode == 0, err
