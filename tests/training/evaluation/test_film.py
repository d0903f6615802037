from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import imageio.v3
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from training.environment.observation import Pixels
from training.environment.pipeline import make_env
from training.evaluation.film import Film, FilmFormat
from training.evaluation.rollout import Camera, Shot

ENCODINGS: tuple[FilmFormat, ...] = ("gif", "webp")


@dataclass(frozen=True)
class Decoded:
    """A film as a player sees it."""

    pictures: list[NDArray[np.uint8]]
    durations: list[int]
    """In milliseconds."""
    loop: int


def decode(film: bytes) -> Decoded:
    pictures: list[NDArray[np.uint8]] = []
    durations: list[int] = []
    with Image.open(io.BytesIO(film)) as image:
        for frame in ImageSequence.Iterator(image):
            pictures.append(np.asarray(frame.convert("RGB")))
            durations.append(int(frame.info["duration"]))
        return Decoded(pictures, durations, int(image.info["loop"]))


def encode(shots: list[Shot], encoding: FilmFormat = "gif", **options: Any) -> bytes:
    film = Film(encoding, **options)
    for shot in shots:
        film.add(shot)
    return film.encode()


def moving_square(number: int, frames: int = 1) -> list[Shot]:
    """A red square that crosses a green field."""
    shots = []
    for i in range(number):
        picture: Pixels = np.full((400, 600, 3), (102, 204, 102), np.uint8)
        picture[180:220, 20 * i : 20 * i + 40] = (255, 0, 0)
        shots.append(Shot(picture, frames))
    return shots


@pytest.fixture(scope="module")
def driven() -> list[Shot]:
    """Some driving, from the zoom of the beginning onto the grass and back."""
    shots: list[Shot] = []
    env = make_env(
        each_frame=lambda env: Camera(env, 10, shots.append),
        render_mode="rgb_array",
        max_frames=200,
    )
    env.reset(seed=1)
    rng = np.random.default_rng(0)
    over = False
    while not over:
        action = np.array([rng.uniform(-0.6, 0.6), 0.7, rng.choice([0, 0, 0.4])], np.float32)
        over = env.step(action)[3]
    return shots


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_film_shows_every_picture_that_was_shot(encoding: FilmFormat) -> None:
    decoded = decode(encode(moving_square(12), encoding))
    assert len(decoded.pictures) == 12
    # The square, 20 pixels wide at half the size, moves on by 10 in every picture.
    lefts = [int((p[100, :, 0] > 200).argmax()) for p in decoded.pictures]
    assert all(abs(after - before - 10) <= 2 for before, after in pairwise(lefts))


def test_other_readers_see_the_same_film(driven: list[Shot]) -> None:
    film = encode(driven)
    read = imageio.v3.imread(film, extension=".gif")
    np.testing.assert_array_equal(read[..., :3], decode(film).pictures)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_film_starts_again_when_it_ends(encoding: FilmFormat) -> None:
    assert decode(encode(moving_square(3), encoding)).loop == 0


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_pictures_are_shown_for_their_simulator_frames(encoding: FilmFormat, frames: int) -> None:
    assert decode(encode(moving_square(5, frames), encoding)).durations == [20 * frames] * 5


@pytest.mark.parametrize("speed", [1, 0.75, 0.07])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_film_lasts_as_long_as_was_driven_over_its_speed(
    encoding: FilmFormat, speed: float
) -> None:
    shots = moving_square(10) + moving_square(10, frames=2)
    decoded = decode(encode(shots, encoding, speed=speed))
    # A GIF's clock ticks every 10 ms.
    assert sum(decoded.durations) == pytest.approx(30 * 20 / speed, abs=10)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_car_that_stands_still_is_shown_for_as_long_as_it_stood(encoding: FilmFormat) -> None:
    shots = moving_square(1) * 25 + moving_square(2)
    assert sum(decode(encode(shots, encoding)).durations) == 27 * 20


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_same_pictures_are_the_same_bytes(encoding: FilmFormat, driven: list[Shot]) -> None:
    assert encode(driven, encoding) == encode(driven, encoding)


@pytest.mark.parametrize(
    ("encoding", "mean_error", "share_off"), [("gif", 1.5, 0.001), ("webp", 3.5, 0.03)]
)
def test_a_film_is_close_to_what_was_driven(
    encoding: FilmFormat, mean_error: float, share_off: float, driven: list[Shot]
) -> None:
    decoded = decode(encode(driven, encoding))
    assert len(decoded.pictures) == len(driven)
    for shown, shot in zip(decoded.pictures, driven, strict=True):
        small = Image.fromarray(shot.picture).resize((300, 200), Image.Resampling.BOX)
        error = np.abs(shown.astype(int) - np.asarray(small).astype(int))
        assert error.mean() < mean_error
        # Nearly every pixel has a colour that the eye takes for the driven one.
        assert (error.max(axis=-1) > 24).mean() < share_off


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("width", [30, 301, 600])
def test_a_film_has_the_width_that_was_asked_for(encoding: FilmFormat, width: int) -> None:
    decoded = decode(encode(moving_square(2), encoding, width=width))
    assert decoded.pictures[0].shape == (round(width * 2 / 3), width, 3)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_one_picture_is_a_film(encoding: FilmFormat) -> None:
    film = Film(encoding)
    film.add(moving_square(1)[0])
    with Image.open(io.BytesIO(film.encode())) as image:
        assert image.size == (300, 200)


def test_a_film_knows_its_number_of_pictures() -> None:
    film = Film()
    assert len(film) == 0
    film.add(moving_square(1)[0])
    assert len(film) == 1


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_film_without_pictures_is_refused(encoding: FilmFormat) -> None:
    with pytest.raises(ValueError, match="no pictures"):
        Film(encoding).encode()


@pytest.mark.parametrize("width", [29, 601])
def test_a_width_out_of_range_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match=f"width is {width}"):
        Film(width=width)


@pytest.mark.parametrize("speed", [0, 0.04, 1.01, -1, float("nan")])
def test_a_speed_out_of_range_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match=f"speed is {speed}"):
        Film(speed=speed)
