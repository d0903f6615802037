"""Shapes and rates of observations. This module loads no simulator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

SIMULATOR_FPS = 50
"""Simulator frames in a second of simulated time."""
EPISODE_FRAMES = 1000
"""Time limit of CarRacing-v3, in simulator frames."""
FRAME_SHAPE = (96, 96, 3)
"""(height, width, RGB) of CarRacing's frames, uint8."""


@dataclass(frozen=True)
class Pipeline:
    """The numbers of the observation pipeline; a policy's manifest carries them."""

    frame_skip: int = 4
    """Simulator frames that one decision is held for."""
    size: int = 84
    """Height and width of the picture that the network sees, in pixels."""
    stack: int = 4
    """Pictures in an observation, oldest first."""
    reward_scale: float = 0.1
    """Factor on the summed rewards of a decision, for training only."""

    def __post_init__(self) -> None:
        """Refuse numbers that no pipeline can have with a ValueError that names them."""
        for name in ("frame_skip", "size", "stack"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not self.reward_scale > 0:
            raise ValueError(f"reward_scale is {self.reward_scale}; it must be above 0")

    @property
    def observation_shape(self) -> tuple[int, int, int]:
        """(height, width, stack) of one observation, uint8."""
        return (self.size, self.size, self.stack)
