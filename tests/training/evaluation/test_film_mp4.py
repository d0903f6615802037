"""MP4 films, read by OpenCV."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.evaluation.test_film import encode, moving_square
from training.evaluation.film import Film
from training.extras import MissingExtraError


class Decoded(NamedTuple):
    """A film as a player sees it."""

    pictures: NDArray[np.uint8]
    """(N, height, width, 3)."""
    fps: float
    codec: str


def decode(film: bytes, folder: Path) -> Decoded:
    path = folder / "read.mp4"
    path.write_bytes(film)
    video = cv2.VideoCapture(str(path))
    codec = int(video.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode()
    pictures = []
    while (read := video.read())[0]:
        pictures.append(read[1][:, :, ::-1])
    return Decoded(np.array(pictures, np.uint8), video.get(cv2.CAP_PROP_FPS), codec)


def test_a_film_shows_every_picture_for_its_simulator_frames(tmp_path: Path) -> None:
    shots = moving_square(4, 1) + moving_square(3, 5)
    pictures, fps, codec = decode(encode(shots, "mp4"), tmp_path)
    assert (fps, codec) == (50, "h264")
    shown = [shot.picture[::2, ::2].astype(np.int16) for shot in shots for _ in range(shot.frames)]
    assert pictures.shape == (len(shown), 200, 300, 3)
    assert np.abs(pictures - np.array(shown)).mean() < 4


def test_a_slow_film_lasts_longer(tmp_path: Path) -> None:
    assert decode(encode(moving_square(10), "mp4", speed=0.5), tmp_path).fps == 25


@pytest.mark.parametrize(("width", "size"), [(30, (30, 20)), (200, (200, 132)), (301, (300, 200))])
def test_sizes_are_even(width: int, size: tuple[int, int], tmp_path: Path) -> None:
    pictures = decode(encode(moving_square(2), "mp4", width=width), tmp_path).pictures
    assert pictures.shape == (2, size[1], size[0], 3)


def test_it_plays_before_it_is_whole() -> None:
    film = encode(moving_square(3), "mp4")
    assert 0 < film.index(b"moov") < film.index(b"mdat")


def test_the_same_pictures_are_the_same_bytes() -> None:
    shots = moving_square(20, 2)
    assert encode(shots, "mp4") == encode(shots, "mp4")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.extras.find_spec", {"imageio": 1}.get)
    with pytest.raises(MissingExtraError, match=r"imageio_ffmpeg .*pip install .*\[video\]"):
        Film("mp4")
