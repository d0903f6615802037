"""A track drawn once into a bitmap, of which every view is a crop."""

from __future__ import annotations

import math
from functools import cache
from typing import Final

import cv2
import numpy as np
from gymnasium.envs.box2d.car_racing import GRASS_DIM, PLAYFIELD, STATE_W, WINDOW_H, WINDOW_W
from numpy.typing import NDArray

from training.simulator.coverage import Patch, Place, quad_patches
from training.simulator.palette import FIELD, GRASS, KERB_RED, KERB_WHITE, ROAD, Plane
from training.simulator.scale import PIXEL_H, PIXEL_W, VIEW_H, Scale

Bitmap = NDArray[np.uint8]

# Half the width of the bitmap in world units: the playing field and a soft edge around it.
EXTENT: Final = 336.0

# Tiles blended into the grass at a time.
_GROUP: Final = 4


@cache
def _field(scale: Scale, plane: Plane) -> tuple[Bitmap, Bitmap]:
    """Return the playing field without a road, black outside, and its excess over the road.

    Both are uint8[size, size] and shared by all tracks.
    """
    size = _size(scale)
    place = (np.arange(size) + 0.5) / scale.per_unit - EXTENT

    def stripe(low: float, high: float) -> NDArray[np.float32]:
        inside = np.minimum(place - low, high - place) + scale.growth
        return np.asarray(np.clip(inside / scale.softness + 0.5, 0.0, 1.0), np.float32)

    squares = np.zeros(size, np.float32)
    for k in range(-20, 20, 2):
        squares = np.maximum(squares, stripe(GRASS_DIM * k, GRASS_DIM * (k + 1)))
    lighter = (plane.level(GRASS) - plane.level(FIELD)) * np.outer(squares, squares)
    inside = stripe(-PLAYFIELD, PLAYFIELD)
    field = np.rint((plane.level(FIELD) + lighter) * np.outer(inside, inside)).astype(np.uint8)
    return field, np.maximum(field, plane.level(ROAD)) - np.uint8(plane.level(ROAD))


def _size(scale: Scale) -> int:
    return round(2 * EXTENT * scale.per_unit)


class _Painting:
    """One plane of a track's bitmap."""

    def __init__(self, scale: Scale, plane: Plane) -> None:
        self._tints = plane.tints
        self._road = plane.level(ROAD)
        self._kerbs = plane.level(KERB_RED), plane.level(KERB_WHITE)
        self._field, self._excess = _field(scale, plane)
        self.pixels = self._field.copy()

    def clear(self) -> None:
        np.copyto(self.pixels, self._field)

    def lay_road(self, place: Place, road: Bitmap) -> None:
        """Blend the road in, where `road` (0..255) covers the grass."""
        darker = cv2.multiply(self._excess[place], road, scale=1 / 255)
        cv2.subtract(self._field[place], darker, self.pixels[place])

    def tint(self, index: int, patch: Patch, sign: int) -> None:
        """Add (1) or take off (-1) what sets the untouched tile `index` apart."""
        tint = self._tints[index % 3]
        if tint:
            place, cover = patch
            part = self.pixels[place]
            cv2.addWeighted(part, 1.0, cover, sign * tint / 255, 0.0, part)

    def lay_kerb(self, patch: Patch, white: bool, hidden_road: Bitmap) -> None:
        """Blend a kerb in: beside other kerbs, and over the road where it hides it."""
        place, cover = patch
        field = self._field[place].astype(np.float32)
        mixed = cover * (self._kerbs[white] - field)
        mixed += hidden_road * (field - self._road)
        mixed *= 1 / 255
        mixed += self.pixels[place]
        np.rint(mixed, out=mixed)
        np.maximum(mixed, 0, out=mixed)
        np.minimum(mixed, 255, out=mixed)
        self.pixels[place] = mixed


class TrackBitmap:
    """One track at one scale, in one or more planes."""

    def __init__(self, scale: Scale, planes: tuple[Plane, ...]) -> None:
        self._scale = scale
        self._road = np.zeros((_size(scale), _size(scale)), np.uint8)
        self._paintings = [_Painting(scale, plane) for plane in planes]
        self._tiles: list[Patch] = []
        self._touched = 0

    def draw(
        self,
        tiles: NDArray[np.float64],
        kerbs: NDArray[np.float64],
        white: list[bool],
    ) -> None:
        """Draw a new track in place of the last.

        Args:
            tiles: float64[n, 4, 2], corners in world units: left, right, right, left.
            kerbs: float64[m, 4, 2], corners in the same order.
            white: of each kerb, whether it is white; red otherwise.
        """
        self._touched = 0
        self._tiles = self._cover(tiles)
        self._road.fill(0)
        for patch in self._tiles:
            part = self._road[patch[0]]
            cv2.add(part, patch[1], part)
        groups = [
            _around(self._tiles[first : first + _GROUP])
            for first in range(0, len(self._tiles), _GROUP)
        ]
        kerb_patches = self._cover(kerbs)
        hidden = [
            np.asarray(cv2.subtract(self._road[place], 255 - cover), np.uint8)
            for place, cover in kerb_patches
        ]
        for painting in self._paintings:
            painting.clear()
            for place in groups:
                painting.lay_road(place, self._road[place])
            for index, patch in enumerate(self._tiles):
                painting.tint(index, patch, 1)
            for patch, is_white, road in zip(kerb_patches, white, hidden, strict=True):
                painting.lay_kerb(patch, is_white, road)

    def touch(self, order: list[int]) -> None:
        """Give those tiles of `order` not yet seen here the colour of a touched tile."""
        for index in order[self._touched :]:
            for painting in self._paintings:
                painting.tint(index, self._tiles[index], -1)
        self._touched = len(order)

    def crop(self, zoom: float, x: float, y: float, angle: float, samples: int) -> list[Bitmap]:
        """Return the view of a car at (x, y), in world units: uint8[84, 96] for each plane.

        Args:
            zoom: stock's surface pixels per world unit.
            x: the car's place.
            y: the car's place.
            angle: the car's heading in rad.
            samples: samples per picture pixel and axis, which are averaged.
        """
        # Bitmap pixels per surface pixel, turned by the car's heading.
        step = self._scale.per_unit / zoom
        cos, sin = step * math.cos(angle), step * math.sin(angle)
        across, down = PIXEL_W / samples, PIXEL_H / samples
        # The first sample's place on the surface, from the car; y points ahead.
        left, ahead = across / 2 - WINDOW_W / 2, WINDOW_H * 3 / 4 - down / 2
        start_x = cos * left - sin * ahead + (x + EXTENT) * self._scale.per_unit - 0.5
        start_y = sin * left + cos * ahead + (y + EXTENT) * self._scale.per_unit - 0.5
        matrix = np.array(
            ((cos * across, sin * down, start_x), (sin * across, -cos * down, start_y))
        )
        views: list[Bitmap] = []
        for painting in self._paintings:
            view = cv2.warpAffine(
                painting.pixels,
                matrix,
                (STATE_W * samples, VIEW_H * samples),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=(0.0,),
            )
            if samples > 1:
                view = cv2.resize(view, (STATE_W, VIEW_H), interpolation=cv2.INTER_AREA)
            views.append(np.asarray(view, np.uint8))
        return views

    def _cover(self, corners: NDArray[np.float64]) -> list[Patch]:
        per_unit = self._scale.per_unit
        pixels = (corners + EXTENT) * per_unit - 0.5
        return quad_patches(pixels, self._scale.softness * per_unit, self._scale.growth * per_unit)


def _around(patches: list[Patch]) -> Place:
    """Return the smallest place that holds all the patches."""
    rows, columns = zip(*(place for place, _ in patches), strict=True)
    return (
        slice(min(r.start for r in rows), max(r.stop for r in rows)),
        slice(min(c.start for c in columns), max(c.stop for c in columns)),
    )
