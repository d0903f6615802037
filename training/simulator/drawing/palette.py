"""What CarRacing's colours become in a grey picture, or in one channel of a colour picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]

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


class Ground(NamedTuple):
    """The colours of a track, which `domain_randomize` draws anew."""

    field: Colour
    grass: Colour
    """Of the lighter squares on the field."""
    tiles: tuple[Colour, Colour, Colour]
    """Of tiles that nobody has touched, by their index modulo 3; the first is a touched tile's."""

    @classmethod
    def of(
        cls, field: Iterable[float], grass: Iterable[float], road: NDArray[np.number[Any]]
    ) -> Self:
        """Cut stock's colours to integers, as its drawing does."""
        first, second, third = (shrunk(road + 0.01 * index * 255, 0) for index in range(3))
        return cls(shrunk(field, 0), shrunk(grass, 0), (first, second, third))


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


GREY: Final = Plane((0.2125, 0.7154, 0.0721), 0.5)
RED_GREEN_BLUE: Final = (
    Plane((1.0, 0.0, 0.0), 0.0),
    Plane((0.0, 1.0, 0.0), 0.0),
    Plane((0.0, 0.0, 1.0), 0.0),
)
