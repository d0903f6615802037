"""Makes a track and its tiles, as Gymnasium does but faster."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from Box2D import b2_staticBody, b2BodyDef
from gymnasium.envs.box2d.car_racing import TRACK_RAD
from numpy.typing import NDArray

if TYPE_CHECKING:
    from training.simulator.environment import FastCarRacing

_CHECKPOINTS: Final = 12
# Box2D's bindings keep a fixture's user data for ever, so all tracks use the same objects.
_INDICES: Final = tuple(range(2500))
_START: Final = 2 * math.pi * (-0.5) / _CHECKPOINTS


def create_track(env: FastCarRacing, trace: Any) -> bool:
    """Do what ``CarRacing._create_track`` does, to the bit; False if the track is not closed.

    Args:
        env: The environment, whose random numbers are drawn.
        trace: The compiled function.
    """
    env.start_alpha = _START
    steps, tiles, bends, kerbs = trace(_checkpoints(env.np_random), _START)
    road: list[Any] = []
    env.road = road  # type: ignore[assignment]
    if not len(steps):
        return False
    env.track = [tuple(step) for step in steps.tolist()]
    colours = env.road_color + (0.01 * (np.arange(len(steps)) % 3) * 255)[:, None]
    corners, kerb_corners = _tuples(tiles), _tuples(kerbs)
    # Box2D copies definitions.
    body, fixture = b2BodyDef(), env.fd_tile
    body.type = b2_staticBody
    fixture.isSensor = True
    shape = fixture.shape
    for index, colour in zip(_INDICES, colours, strict=False):
        shape.vertices = corners[index]
        tile = env.world.CreateBody(body)
        tile.CreateFixture(fixture).userData = index
        tile.userData = tile
        tile.color = colour
        tile.road_visited = False
        tile.road_friction = 1.0
        tile.idx = index
        env.road_poly.append((corners[index], colour))
        road.append(tile)
        if bends[index]:
            kerb = (255, 255, 255) if index % 2 == 0 else (255, 0, 0)
            env.road_poly.append((kerb_corners[index], kerb))
    return True


def _checkpoints(random: np.random.Generator) -> NDArray[np.float64]:
    """float64[12, 3]: angle around the centre and place; the first and last are always the same."""
    points = []
    for index in range(_CHECKPOINTS):
        noise = random.uniform(0, 2 * math.pi * 1 / _CHECKPOINTS)
        angle = 2 * math.pi * index / _CHECKPOINTS + noise
        radius = random.uniform(TRACK_RAD / 3, TRACK_RAD)
        if index == 0:
            angle, radius = 0, 1.5 * TRACK_RAD
        if index == _CHECKPOINTS - 1:
            angle, radius = 2 * math.pi * index / _CHECKPOINTS, 1.5 * TRACK_RAD
        points.append((angle, radius * math.cos(angle), radius * math.sin(angle)))
    return np.array(points, np.float64)


def _tuples(shapes: NDArray[np.float64]) -> list[list[tuple[float, float]]]:
    pairs = [(x, y) for x, y in shapes.reshape(-1, 2).tolist()]
    return [pairs[first : first + 4] for first in range(0, len(pairs), 4)]
