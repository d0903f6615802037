"""The types of what the kernels take, and the order of numbers in it."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.uint8]
Plane = NDArray[np.float32]

# The levels of a plane's colours; three TINTS follow, by a tile's index modulo 3.
FIELD, GRASS, ROAD, TINTS, KERB_RED, KERB_WHITE, HULL, WHEEL, MARK = 0, 1, 2, 3, 6, 7, 8, 9, 10
# The car's state; TURNS and PHASES have one number for each wheel, GAUGES one for each bar.
X, Y, COS, SIN, ZOOM, TURNS, PHASES, GAUGES = 0, 1, 2, 3, 4, 5, 9, 13
STATE_SIZE: Final = 20
