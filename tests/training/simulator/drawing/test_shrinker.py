from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from training.simulator.drawing.shrinker import Shrinker
from training.simulator.kernels import load_kernels


@pytest.mark.parametrize("size", [1, 42, 84, 96, 150])
def test_it_shrinks_as_pillow_does(size: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (96, 96)).astype(np.uint8)
    expected = Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR)
    kernels = load_kernels()
    assert kernels is not None
    small = Shrinker(kernels, size).shrink(picture.astype(np.float32))
    assert small.dtype == np.uint8
    assert np.abs(small.astype(np.int16) - np.asarray(expected)).max() <= 1
