"""Sizes that the drawing modules share."""

from __future__ import annotations

from typing import Final

from gymnasium.envs.box2d.car_racing import STATE_H, STATE_W, WINDOW_H, WINDOW_W

# Rows of the 96x96 picture above the black panel.
VIEW_H: Final = 84

# A picture's pixel in pixels of the 1000x800 surface that stock draws on.
PIXEL_W: Final = WINDOW_W / STATE_W
PIXEL_H: Final = WINDOW_H / STATE_H
