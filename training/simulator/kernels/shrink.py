"""Shrinks square pictures."""

from __future__ import annotations

import numpy as np
from gymnasium.envs.box2d.car_racing import STATE_W

from training.simulator.kernels.jit import kernel
from training.simulator.kernels.layout import Flags, Ints, Plane

_0, _HALF = np.float32(0), np.float32(0.5)


@kernel("void(f4[:,::1], i8[::1], f4[:,::1], u1[:,::1])")
def shrink(picture: Plane, first: Ints, weights: Plane, small: Flags) -> None:
    """Shrink a 96x96 picture, by a filter's first places and weights."""
    size = len(small)
    turned, line = np.empty((STATE_W, size), np.float32), np.empty(max(STATE_W, size), np.float32)
    for i in range(size):
        line[:] = _0
        for k in range(len(weights)):
            row, weight = picture[first[i] + k], weights[k, i]
            for j in range(STATE_W):
                line[j] += weight * row[j]
        for j in range(STATE_W):
            turned[j, i] = line[j]
    for j in range(size):
        line[:] = _HALF
        for k in range(len(weights)):
            row, weight = turned[first[j] + k], weights[k, j]
            for i in range(size):
                line[i] += weight * row[i]
        for i in range(size):
            small[i, j] = np.uint8(line[i])
