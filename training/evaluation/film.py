"""Films of driving: a GIF, a WebP or an MP4 that plays at the speed of the simulator."""

from __future__ import annotations

import io
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
from PIL import Image

from training.environment.observation import SIMULATOR_FPS
from training.evaluation.rollout import Shot
from training.extras import require

FilmFormat = Literal["gif", "webp", "mp4"]

WIDTH = 300
"""Width of a film in pixels unless another is asked for; the height is two thirds of it."""

_FRAME_MS = 1000 / SIMULATOR_FPS

# CarRacing draws with these few colours; everything else in a picture is a blend of two of them.
_GRASS, _GRASS_PATCH, _ROAD = (102, 204, 102), (102, 230, 102), (102, 102, 102)
_BLACK, _WHITE, _HULL, _RIM = (0, 0, 0), (255, 255, 255), (204, 0, 0), (77, 77, 77)
_RED, _GREEN, _BLUE, _PURPLE, _MUD = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (51, 0, 255),
    (102, 102, 0),
)
_BLENDS = [
    (_GRASS, _GRASS_PATCH),
    (_GRASS, _ROAD),
    (_GRASS_PATCH, _ROAD),
    (_GRASS, _BLACK),
    (_GRASS_PATCH, _BLACK),
    (_GRASS, _WHITE),
    (_GRASS, _RED),
    (_GRASS, _MUD),
    (_ROAD, _WHITE),
    (_ROAD, _RED),
    (_ROAD, _BLACK),
    (_ROAD, _HULL),
    (_HULL, _BLACK),
    (_RIM, _BLACK),
    (_RED, _WHITE),
    (_BLACK, _WHITE),
    (_BLACK, _GREEN),
    (_BLACK, _BLUE),
    (_BLACK, _PURPLE),
    (_BLACK, _RED),
]
_BLEND_STEPS = 6


# One thread: the same bytes on every machine, and one core for a render. The index comes first, so
# that a film plays before it is whole.
_X264: Final = ["-crf", "23", "-preset", "veryfast", "-threads", "1", "-movflags", "+faststart"]


def _palette() -> Image.Image:
    """The fixed palette: one for every film, so equal pictures are equal bytes."""
    colours: dict[tuple[int, int, int], None] = {}
    for first, second in _BLENDS:
        for step in range(_BLEND_STEPS + 1):
            mixed = np.array(first) + (np.array(second) - np.array(first)) * (step / _BLEND_STEPS)
            colours[tuple(int(c) for c in mixed.round())] = None  # type: ignore[index]
    image = Image.new("P", (1, 1))
    image.putpalette([channel for colour in colours for channel in colour])
    return image


def check_format(encoding: FilmFormat) -> None:
    """Check that films of this format can be made here.

    Raises:
        MissingExtraError: It is ``"mp4"``, and the extra ``video`` is not installed.
    """
    if encoding == "mp4":
        require("video", "imageio", "imageio_ffmpeg")


class Film:
    """Collects pictures as they are shot, already reduced, and encodes them at the end."""

    def __init__(
        self, encoding: FilmFormat = "gif", *, width: int = WIDTH, speed: float = 1.0
    ) -> None:
        """Start a film.

        Args:
            encoding: ``"gif"``, ``"webp"`` or ``"mp4"``.
            width: In pixels, 30 to 600. Width and height of an MP4 are rounded down to even
                numbers, which its format needs.
            speed: 1 plays at the simulator's speed, 0.5 at half of it.

        Raises:
            ValueError: ``width`` or ``speed`` is out of range.
            MissingExtraError: It is an MP4, and the extra ``video`` is not installed.
        """
        if not 30 <= width <= 600:
            raise ValueError(f"width is {width}; it must be from 30 to 600")
        if not 0.05 <= speed <= 1:
            raise ValueError(f"speed is {speed}; it must be from 0.05 to 1")
        check_format(encoding)
        self._encoding = encoding
        self._size = (width, round(width * 2 / 3))
        if encoding == "mp4":
            self._size = (self._size[0] // 2 * 2, self._size[1] // 2 * 2)
        self._frame_ms = _FRAME_MS / speed
        self._palette = _palette()
        self._pictures: list[Image.Image] = []
        self._frames = 0
        self._shown: list[int] = []
        self._durations: list[int] = []
        # A GIF's clock ticks every 10 ms.
        self._tick_ms = 10 if encoding == "gif" else 1

    def __len__(self) -> int:
        return len(self._pictures)

    def add(self, shot: Shot) -> None:
        """Add a picture, (400, 600, 3) uint8, to the end."""
        # Each pixel is the average of what it covers.
        small = cv2.resize(shot.picture, self._size, interpolation=cv2.INTER_AREA)
        picture = Image.fromarray(small)
        if self._encoding == "gif":
            picture = picture.quantize(palette=self._palette, dither=Image.Dither.NONE)
        self._pictures.append(picture)
        begin = self._ticks()
        self._frames += shot.frames
        self._shown.append(shot.frames)
        # From the film's beginning, so that rounding does not add up.
        self._durations.append((self._ticks() - begin) * self._tick_ms)

    def _ticks(self) -> int:
        return round(self._frames * self._frame_ms / self._tick_ms)

    def encode(self) -> bytes:
        """The whole film; GIF and WebP are endless. The same pictures give the same bytes.

        Raises:
            ValueError: No picture was added.
        """
        if not self._pictures:
            raise ValueError("the film has no pictures")
        if self._encoding == "mp4":
            return self._encode_mp4()
        buffer = io.BytesIO()
        first, *rest = self._pictures
        if self._encoding == "gif":
            first.save(
                buffer,
                "GIF",
                save_all=True,
                append_images=rest,
                duration=self._durations,
                loop=0,
                optimize=False,
                disposal=1,
            )
        else:
            first.save(
                buffer,
                "WEBP",
                save_all=True,
                append_images=rest,
                duration=self._durations,
                loop=0,
                quality=60,
                method=2,
            )
        return buffer.getvalue()

    def _encode_mp4(self) -> bytes:
        # The extra may be missing, and the service starts without it.
        import imageio.v2 as imageio

        # One picture a simulator frame: a constant rate keeps time exactly, and equal pictures
        # cost next to nothing.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "film.mp4")
            writer: Any = imageio.get_writer(
                path,
                format="FFMPEG",
                fps=1000 / self._frame_ms,
                codec="libx264",
                quality=None,
                macro_block_size=1,
                pixelformat="yuv420p",
                ffmpeg_params=_X264,
            )
            with closing(writer):
                for picture, frames in zip(self._pictures, self._shown, strict=True):
                    for _ in range(frames):
                        writer.append_data(np.asarray(picture))
            return path.read_bytes()
