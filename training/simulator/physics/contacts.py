"""Which wheel is on which tile, and which tiles were touched or visited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from Box2D import b2Contact, b2Filter
from Box2D.b2 import contactListener

if TYPE_CHECKING:
    from training.simulator.environment import FastCarRacing


# The hull only colours a tile. Once that is done, Box2D need not report the two's contacts.
_WHEELS_ONLY: Final = b2Filter(maskBits=0xFFFE)


class TileContacts(contactListener):  # type: ignore[misc]
    """Does what Gymnasium's FrictionDetector does, and notes which tiles were touched.

    A tile's fixture has the tile's index as its user data, that of the wheel at ``place`` has
    ``~place``, and those of the hull have none.
    """

    def __init__(self, env: FastCarRacing) -> None:
        super().__init__()
        self._env = env
        self._tiles: list[Any] = []
        self._wheels: list[Any] = []
        self.touched = bytearray()
        """Of each tile, 1 if a part of the car was on it."""

    def start(self, tiles: list[Any], wheels: list[Any]) -> None:
        """Begin an episode with these tiles and wheels."""
        self._tiles = tiles
        self._wheels = wheels
        self.touched = bytearray(len(tiles))

    def BeginContact(self, contact: b2Contact) -> None:  # noqa: N802 (Box2D's name)
        """Called by Box2D when a part of the car reaches a tile."""
        fixture = contact.fixtureA
        index, wheel = fixture.userData, contact.fixtureB.userData
        if index is None or index < 0:
            fixture = contact.fixtureB
            index, wheel = wheel, index
        if not self.touched[index]:
            self.touched[index] = 1
            self._tiles[index].color[:] = self._env.road_color
            fixture.filterData = _WHEELS_ONLY
        if wheel is None:
            return
        self._wheels[~wheel].tiles.add(index)
        tile = self._tiles[index]
        if tile.road_visited:
            return
        tile.road_visited = True
        env = self._env
        count = len(env.track)
        env.reward += 1000.0 / count
        env.tile_visited_count += 1
        if index == 0 and env.tile_visited_count / count > env.lap_complete_percent:
            env.new_lap = True

    def EndContact(self, contact: b2Contact) -> None:  # noqa: N802 (Box2D's name)
        """Called by Box2D when a part of the car leaves a tile."""
        index, wheel = contact.fixtureA.userData, contact.fixtureB.userData
        if index is None or index < 0:
            index, wheel = wheel, index
        if wheel is not None:
            self._wheels[~wheel].tiles.remove(index)
