"""Small square pictures of large ones."""

from __future__ import annotations

import numpy as np
from gymnasium.envs.box2d.car_racing import STATE_W
from numpy.typing import NDArray

from training.simulator.kernels import Kernels


class Shrinker:
    """Makes ``size`` × ``size`` pictures of 96×96 ones, as Pillow's bilinear filter does."""

    def __init__(self, kernels: Kernels, size: int) -> None:
        self.size = size
        self._shrink = kernels.shrink
        scale = STATE_W / size
        reach = max(scale, 1.0)
        centre = (np.arange(size)[:, None] + 0.5) * scale
        weights = np.maximum(1 - np.abs(np.arange(STATE_W) + 0.5 - centre) / reach, 0)
        weights /= weights.sum(1, keepdims=True)
        # The large pixels that a small one is made of: as many for each, some without weight.
        count = int((weights > 0).sum(1).max())
        self._first = np.minimum((weights > 0).argmax(1), STATE_W - count)
        places = self._first + np.arange(count)[:, None]
        self._weights = weights[np.arange(size), places].astype(np.float32)

    def shrink(self, picture: NDArray[np.float32]) -> NDArray[np.uint8]:
        """A (96, 96) picture with levels 0 to 255, shrunk to (size, size) uint8."""
        small = np.empty((self.size, self.size), np.uint8)
        self._shrink(picture, self._first, self._weights, small)
        return small
