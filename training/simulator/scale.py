"""Sizes that the drawing modules share."""

from __future__ import annotations

from typing import Final, NamedTuple

from gymnasium.envs.box2d.car_racing import STATE_H, STATE_W, WINDOW_H, WINDOW_W

# Rows of the 96x96 picture above the black panel.
VIEW_H: Final = 84

# A picture's pixel in pixels of the 1000x800 surface that stock draws on.
PIXEL_W: Final = WINDOW_W / STATE_W
PIXEL_H: Final = WINDOW_H / STATE_H


class Scale(NamedTuple):
    """How a track is drawn into a bitmap.

    Attributes:
        per_unit: bitmap pixels per world unit.
        softness: width of every edge's ramp, in world units. With the bilinear crop it stands
            for the averaging over a picture's pixel.
        growth: how far stock's polygon filling grows a shape, in world units.
    """

    per_unit: float
    softness: float
    growth: float
