"""Small square pictures of large ones."""

from __future__ import annotations

import cv2
import numpy as np
from gymnasium.envs.box2d.car_racing import STATE_H, STATE_W
from numpy.typing import NDArray

_Tap = tuple[NDArray[np.intp], NDArray[np.float32]]
"""For each small pixel one of those that it is made of, and its weight."""


def _taps(side: int, small: int) -> list[_Tap]:
    """Pillow's bilinear filter from ``side`` pixels to ``small``."""
    scale = side / small
    reach = max(scale, 1.0)
    centre = (np.arange(small)[:, None] + 0.5) * scale
    weights = np.maximum(1 - np.abs(np.arange(side) + 0.5 - centre) / reach, 0)
    weights /= weights.sum(1, keepdims=True)
    count = int((weights > 0).sum(1).max())
    first = np.minimum((weights > 0).argmax(1), side - count)
    rows = np.arange(small)
    return [(first + k, weights[rows, first + k].astype(np.float32)) for k in range(count)]


class Shrinker:
    """Makes ``size`` × ``size`` pictures of 96×96 ones, as Pillow's bilinear filter does.

    Without a product of matrices, whose last bits depend on the number of BLAS's threads: a drive
    would, too.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._across = _taps(STATE_W, size)
        self._down = [(rows, weights[:, None]) for rows, weights in _taps(STATE_H, size)]
        # The sums, and a part to add to each.
        self._narrow = np.empty((2, STATE_H, size), np.float32)
        self._small = np.empty((2, size, size), np.float32)

    def shrink(self, picture: NDArray[np.float32]) -> NDArray[np.uint8]:
        """A (96, 96) picture with levels 0 to 255, shrunk to (size, size) uint8."""
        _mix(picture, self._across, 1, *self._narrow)
        _mix(self._narrow[0], self._down, 0, *self._small)
        return np.asarray(cv2.convertScaleAbs(self._small[0]), np.uint8)


def _mix(
    picture: NDArray[np.float32],
    taps: list[_Tap],
    axis: int,
    out: NDArray[np.float32],
    part: NDArray[np.float32],
) -> None:
    """Write the weighted sums along an axis to ``out``."""
    into = out
    for places, weights in taps:
        # Clipping changes no place here: other modes make a copy first.
        np.take(picture, places, axis, out=into, mode="clip")
        into *= weights
        if into is part:
            out += part
        into = part
