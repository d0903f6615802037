from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.driving.picture import LivePicture, jpeg

PICTURE = LivePicture(
    lane=1,
    frame=501,
    over=True,
    lap_finished=True,
    steering=-0.5,
    gas=0.25,
    brake=0.125,
    speed=61.5,
    score=-12.5,
    tiles_left=17,
    tiles=290,
    picture=b"for people",
    view=b"for the policy",
)


def test_the_bytes_are_those_of_the_protocol() -> None:
    header = bytes.fromhex(
        "01 01 0300 f5010000"  # kind, lane, flags, frame
        "000000bf 0000803e 0000003e"  # steering, gas, brake
        "00007642 000048c1 00000000"  # speed, return, reserved
        "1100 2201 0a000000"  # tiles left, tiles, length of the picture
    )
    assert PICTURE.pack() == header + b"for people" + b"for the policy"


def test_a_packed_picture_can_be_unpacked() -> None:
    assert LivePicture.unpack(PICTURE.pack()) == PICTURE


@pytest.mark.parametrize("shape", [(40, 60, 3), (84, 84)])
def test_a_jpeg_shows_the_picture(shape: tuple[int, ...]) -> None:
    picture: NDArray[np.uint8] = np.full(shape, 200, np.uint8)
    if len(shape) == 3:
        picture[...] = (220, 120, 20)
    with Image.open(io.BytesIO(jpeg(picture))) as image:
        assert image.format == "JPEG"
        shown = np.asarray(image)
    assert shown.shape == shape
    assert np.abs(shown.astype(int) - picture).max() < 4
