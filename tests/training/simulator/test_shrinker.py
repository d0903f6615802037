from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from training.simulator.shrinker import Shrinker


@pytest.mark.parametrize("size", [1, 42, 84, 96, 150])
def test_it_shrinks_as_pillow_does(size: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (96, 96)).astype(np.uint8)
    expected = Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR)
    small = Shrinker(size).shrink(picture.astype(np.float32))
    assert small.dtype == np.uint8
    assert np.abs(small.astype(np.int16) - np.asarray(expected)).max() <= 1


def test_the_number_of_threads_changes_no_bit() -> None:
    script = (
        "import hashlib\n"
        "import numpy as np\n"
        "from training.simulator.shrinker import Shrinker\n"
        "shrinker = Shrinker(84)\n"
        "picture = np.random.default_rng(0).uniform(0, 255, (96, 96)).astype(np.float32)\n"
        "shrinker.shrink(picture)\n"
        "print(hashlib.sha256(shrinker._small[0].tobytes()).hexdigest())\n"
    )
    found = set()
    for threads in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1
