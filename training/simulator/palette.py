"""What CarRacing's colours become in a grey picture, or in one channel of a colour picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]

FIELD: Final = (102, 204, 102)
GRASS: Final = (102, 230, 102)
ROAD: Final = (102, 102, 102)
# A tile that nobody has touched is lighter, by its index modulo 3.
UNTOUCHED: Final = (ROAD, (104, 104, 104), (107, 107, 107))
KERB_WHITE: Final = (255, 255, 255)
KERB_RED: Final = (255, 0, 0)
HULL: Final = (204, 0, 0)
WHEEL: Final = (0, 0, 0)
WHEEL_MARK: Final = (77, 77, 77)

# pygame's smoothscale averages in integers, and takes this much off every even colour; off the
# average of a mixed pixel it takes less.
_EVEN_LOSS: Final = 2
MIXED_LOSS: Final = 1.5


def shrunk(colour: Iterable[float], loss: int) -> Colour:
    """What an even area of ``colour`` becomes where smoothscale takes ``loss`` off it."""
    red, green, blue = (max(int(part) - loss, 0) for part in colour)
    return red, green, blue


@dataclass(frozen=True, eq=False)
class Plane:
    """One plane of a picture: a weighted sum of red, green and blue, cut to an integer.

    Attributes:
        weights: of red, green and blue.
        cut: what cutting to an integer takes off on average.
    """

    weights: tuple[float, float, float]
    cut: float

    def level(self, colour: Colour) -> int:
        """Return 0..255: an even area of `colour`, as the shrunken picture shows it."""
        return int(self.of(np.array(shrunk(colour, _EVEN_LOSS), np.uint8)))

    def of(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return this plane of uint8[..., 3], as GrayscaleObservation computes it: uint8[...]."""
        weighted: NDArray[np.float64] = np.multiply(picture, np.array(self.weights))
        return np.asarray(np.sum(weighted, axis=-1)).astype(np.uint8)

    @cached_property
    def tints(self) -> tuple[int, ...]:
        """How much lighter an untouched tile is, by its index modulo 3."""
        road = self.level(ROAD)
        return tuple(self.level(colour) - road for colour in UNTOUCHED)


GREY: Final = Plane((0.2125, 0.7154, 0.0721), 0.5)
RED_GREEN_BLUE: Final = (
    Plane((1.0, 0.0, 0.0), 0.0),
    Plane((0.0, 1.0, 0.0), 0.0),
    Plane((0.0, 0.0, 1.0), 0.0),
)
