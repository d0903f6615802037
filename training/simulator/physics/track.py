"""Makes a track and its tiles, as Gymnasium does but faster."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from gymnasium.envs.box2d.car_racing import TRACK_RAD
from numpy.typing import NDArray

if TYPE_CHECKING:
    from training.simulator.environment import FastCarRacing

_CHECKPOINTS: Final = 12
# Box2D's bindings keep a fixture's user data for ever, so all tracks use the same objects.
_INDICES: Final = tuple(range(2500))
_START: Final = 2 * math.pi * (-0.5) / _CHECKPOINTS


@dataclass
class Tile:
    """A tile of the road; Gymnasium's is a Box2D body with the same attributes."""

    idx: int
    color: NDArray[np.float64]
    road_visited: bool = False
    road_friction: float = 1.0


def create_track(env: FastCarRacing, trace: Any) -> Any:
    """Do what ``CarRacing._create_track`` does, to the bit, but with one body for all tiles.

    Fewer bodies make Box2D's steps faster. Tiles are sensors, so the physics stays the same.

    Args:
        env: The environment, whose random numbers are drawn.
        trace: The compiled function.

    Returns:
        The body; None if the track is not closed.
    """
    env.start_alpha = _START
    steps, tiles, bends, kerbs = trace(_checkpoints(env.np_random), _START)
    if not len(steps):
        return None
    numbers = iter(steps.ravel().tolist())
    env.track = list(zip(numbers, numbers, numbers, numbers, strict=True))
    colours = env.road_color + (0.01 * (np.arange(len(steps)) % 3) * 255)[:, None]
    road = [Tile(index, colour) for index, colour in zip(_INDICES, colours, strict=False)]
    env.road = road  # type: ignore[assignment]
    kerb_corners = iter(_corners(kerbs[bends != 0]))
    body, fixture = env.world.CreateStaticBody(), env.fd_tile
    fixture.isSensor = True
    shape, create_fixture = fixture.shape, body.CreateFixture
    for tile, corners, bend in zip(road, _corners(tiles), bends.tolist(), strict=True):
        shape.vertices = corners
        create_fixture(fixture).userData = tile.idx
        env.road_poly.append((corners, tile.color))
        if bend:
            kerb = (255, 255, 255) if tile.idx % 2 == 0 else (255, 0, 0)
            env.road_poly.append((next(kerb_corners), kerb))
    return body


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


def _corners(shapes: NDArray[np.float64]) -> list[list[tuple[float, float]]]:
    """Each shape's four corners."""
    numbers = iter(shapes.ravel().tolist())
    corners = list(zip(numbers, numbers, strict=True))
    return [corners[first : first + 4] for first in range(0, len(corners), 4)]
