"""The score's digits, as stock writes them into the panel's left corner."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import pygame
from numpy.typing import NDArray

# The corner that holds the digits, in pixels of stock's surface; their centre in it.
_CORNER: Final = (125, 100)
_CENTRE: Final = (60, 50)


@lru_cache(maxsize=2048)
def draw_score(score: int, width: int, height: int) -> NDArray[np.uint8]:
    """The corner with the score in it, shrunk to (height, width, 3); to the bit stock's."""
    pygame.font.init()
    surface = pygame.Surface(_CORNER)
    font = pygame.font.Font(pygame.font.get_default_font(), 42)
    digits = font.render(f"{score:04d}", True, (255, 255, 255), (0, 0, 0))
    surface.blit(digits, digits.get_rect(center=_CENTRE))
    shrunk = pygame.transform.smoothscale(surface, (width, height))
    return np.array(pygame.surfarray.pixels3d(shrunk)).transpose(1, 0, 2)
