"""Small square pictures of large ones."""

from __future__ import annotations

import cv2
import numpy as np
from gymnasium.envs.box2d.car_racing import STATE_H, STATE_W
from numpy.typing import NDArray


def _weights(side: int, small: int) -> NDArray[np.float32]:
    """The weights of Pillow's bilinear filter, (small, side)."""
    scale = side / small
    reach = max(scale, 1.0)
    centre = (np.arange(small)[:, None] + 0.5) * scale
    weights = np.maximum(1 - np.abs(np.arange(side) + 0.5 - centre) / reach, 0)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


class Shrinker:
    """Makes ``size`` × ``size`` pictures of 96×96 ones, as Pillow's bilinear filter does."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._down = _weights(STATE_H, size)
        self._across = _weights(STATE_W, size).T.copy()
        self._narrow = np.empty((STATE_H, size), np.float32)
        self._small = np.empty((size, size), np.float32)

    def shrink(self, picture: NDArray[np.float32]) -> NDArray[np.uint8]:
        """A (96, 96) picture with levels 0 to 255, shrunk to (size, size) uint8."""
        np.matmul(picture, self._across, out=self._narrow)
        np.matmul(self._down, self._narrow, out=self._small)
        return np.asarray(cv2.convertScaleAbs(self._small), np.uint8)
