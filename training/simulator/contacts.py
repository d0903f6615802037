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
    """Does what Gymnasium's FrictionDetector does, and notes which tiles were touched."""

    def __init__(self, env: FastCarRacing) -> None:
        super().__init__()
        self._env = env
        self.touched = bytearray()
        """Of each tile, 1 if a part of the car was on it; a new track needs a new one."""

    def BeginContact(self, contact: b2Contact) -> None:  # noqa: N802 (Box2D's name)
        """Called by Box2D when a part of the car reaches a tile."""
        tile, wheel = self._pair(contact)
        if wheel is None:
            return
        wheel.tiles.add(tile)
        if tile.road_visited:
            return
        tile.road_visited = True
        env = self._env
        count = len(env.track)
        env.reward += 1000.0 / count
        env.tile_visited_count += 1
        if tile.idx == 0 and env.tile_visited_count / count > env.lap_complete_percent:
            env.new_lap = True

    def EndContact(self, contact: b2Contact) -> None:  # noqa: N802 (Box2D's name)
        """Called by Box2D when a part of the car leaves a tile."""
        tile, wheel = self._pair(contact)
        if wheel is not None:
            wheel.tiles.remove(tile)

    def _pair(self, contact: b2Contact) -> tuple[Any, Any]:
        """Return the tile, coloured as touched, and the wheel on it; None for another part."""
        fixture = contact.fixtureA
        tile, wheel = fixture.body.userData, contact.fixtureB.body.userData
        if not hasattr(tile, "road_friction"):
            fixture = contact.fixtureB
            tile, wheel = wheel, tile
            if not hasattr(tile, "road_friction"):
                return None, None
        if not self.touched[tile.idx]:
            self.touched[tile.idx] = 1
            tile.color[:] = self._env.road_color
            fixture.filterData = _WHEELS_ONLY
        return tile, wheel
