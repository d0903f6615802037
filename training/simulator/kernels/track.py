"""Traces a track through its checkpoints, as ``CarRacing._create_track`` does, to the bit."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from gymnasium.envs.box2d.car_racing import (
    BORDER,
    BORDER_MIN_COUNT,
    SCALE,
    TRACK_DETAIL_STEP,
    TRACK_RAD,
    TRACK_TURN_RATE,
    TRACK_WIDTH,
)

from training.simulator.kernels.jit import jit, kernel
from training.simulator.kernels.layout import Flags, Floats

_MOST_STEPS: Final = 2500


@jit
def _follow(checkpoints: Floats, steps: Floats) -> int:
    """Write angle around the centre, heading and place of each step; return their number."""
    x, y, beta = 1.5 * TRACK_RAD, 0.0, 0.0
    destination = 0
    laps = 0
    visited_other_side = False
    for count in range(_MOST_STEPS):
        alpha = math.atan2(y, x)
        if visited_other_side and alpha > 0:
            laps += 1
            visited_other_side = False
        if alpha < 0:
            visited_other_side = True
            alpha += 2 * math.pi
        while alpha > checkpoints[destination % len(checkpoints), 0]:
            destination += 1
            if destination % len(checkpoints) == 0:
                alpha -= 2 * math.pi
        goal = checkpoints[destination % len(checkpoints)]
        cos, sin = math.cos(beta), math.sin(beta)
        turn = SCALE * (cos * (goal[1] - x) + sin * (goal[2] - y))
        while beta - alpha > 1.5 * math.pi:
            beta -= 2 * math.pi
        while beta - alpha < -1.5 * math.pi:
            beta += 2 * math.pi
        previous = beta
        if turn > 0.3:
            beta -= min(TRACK_TURN_RATE, abs(0.001 * turn))
        if turn < -0.3:
            beta += min(TRACK_TURN_RATE, abs(0.001 * turn))
        x += -sin * TRACK_DETAIL_STEP
        y += cos * TRACK_DETAIL_STEP
        steps[count] = alpha, previous * 0.5 + beta * 0.5, x, y
        if laps > 4:
            return count + 1
    return _MOST_STEPS


@jit
def _close(steps: Floats, count: int, start: float) -> Floats:
    """Return the last whole lap of the steps; none if its ends do not meet."""
    first = last = -1
    i = count
    while first == -1:
        i -= 1
        if i == 0:
            return steps[:0]
        if steps[i, 0] > start and steps[i - 1, 0] <= start:
            if last == -1:
                last = i
            else:
                first = i
    lap = steps[first : last - 1]
    across = math.cos(lap[0, 1]) * (lap[0, 2] - lap[-1, 2])
    along = math.sin(lap[0, 1]) * (lap[0, 3] - lap[-1, 3])
    return steps[:0] if math.sqrt(across * across + along * along) > TRACK_DETAIL_STEP else lap


@jit
def _mark_bends(lap: Floats, bends: Flags) -> None:
    """Set where hard turns have kerbs."""
    count = len(lap)
    for i in range(count):
        hard, side = True, 0.0
        for back in range(BORDER_MIN_COUNT):
            change = lap[i - back, 1] - lap[i - back - 1, 1]
            hard &= abs(change) > TRACK_TURN_RATE * 0.2
            side += np.sign(change)
        bends[i] = hard and abs(side) == BORDER_MIN_COUNT
    for i in range(count):
        for back in range(BORDER_MIN_COUNT):
            bends[i - back] |= bends[i]


@jit
def _lay(corners: Floats, here: Floats, there: Floats, left: float, right: float) -> None:
    """Write the corners of a strip between two steps."""
    for k in range(2):
        step, one, other = (here, left, right) if k == 0 else (there, right, left)
        cos, sin = math.cos(step[1]), math.sin(step[1])
        corners[2 * k, 0], corners[2 * k, 1] = step[2] + one * cos, step[3] + one * sin
        corners[2 * k + 1, 0] = step[2] + other * cos
        corners[2 * k + 1, 1] = step[3] + other * sin


@kernel("Tuple((f8[:,::1], f8[:,:,::1], u1[::1], f8[:,:,::1]))(f8[:,::1], f8)")
def trace(checkpoints: Floats, start: float) -> tuple[Floats, Floats, Flags, Floats]:
    """Trace the track.

    Args:
        checkpoints: float64[n, 3], angle around the centre and place.
        start: the angle that the lap begins at.

    Returns:
        float64[m, 4], the angle, heading and place of each step, or nothing if there is no lap;
        float64[m, 4, 2], the corners of the tiles; uint8[m], which tiles have a kerb; and
        float64[m, 4, 2], the corners of the kerbs.
    """
    steps = np.empty((_MOST_STEPS, 4))
    lap = _close(steps, _follow(checkpoints, steps), start)
    count = len(lap)
    bends = np.zeros(count, np.uint8)
    tiles, kerbs = np.empty((count, 4, 2)), np.empty((count, 4, 2))
    if count:
        _mark_bends(lap, bends)
    for i in range(count):
        here, there = lap[i], lap[i - 1]
        _lay(tiles[i], here, there, -TRACK_WIDTH, TRACK_WIDTH)
        side = np.sign(there[1] - here[1])
        _lay(kerbs[i], here, there, side * TRACK_WIDTH, side * (TRACK_WIDTH + BORDER))
    return lap.copy(), tiles, bends, kerbs
