"""Pictures for people, against stock's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.simulator.drivers import KINDS, Driver
from tests.training.simulator.conftest import QuietCarRacing
from training.simulator import FastCarRacing
from training.simulator.drawing.film_view import FilmView


def off(picture: NDArray[np.uint8] | None, stock: QuietCarRacing) -> NDArray[Any]:
    """How far each pixel is from stock's in its worst channel, (400, 600)."""
    expected: Any = stock.render()  # type: ignore[no-untyped-call]
    assert picture is not None
    assert picture.shape == expected.shape == (400, 600, 3)
    assert picture.dtype == expected.dtype == np.uint8
    return np.asarray(np.abs(picture.astype(np.int16) - expected).max(-1))


@pytest.mark.parametrize("kind", KINDS)
def test_films_look_like_stocks(kind: str) -> None:
    """Zoom of the first second, kerbs, skid marks and the border of the field included."""
    stock, fast = QuietCarRacing("rgb_array"), FastCarRacing("rgb_array", lazy=True)
    stock.reset(seed=3)
    fast.reset(seed=3)
    driver = Driver(kind, 3)
    for decision in range(100):
        if decision < 15 or decision % 5 == 0:
            difference = off(fast.render(), stock)
            assert difference.mean() < 1.5, decision
            assert (difference > 24).mean() < 0.02, decision
        action = driver(stock)
        for _ in range(4):
            stock.step(action)
            fast.step(action)


def test_even_areas_and_the_score_are_stocks_to_the_bit() -> None:
    stock, fast = QuietCarRacing("rgb_array"), FastCarRacing("rgb_array", lazy=True)
    stock.reset(seed=0)
    fast.reset(seed=0)
    for _ in range(60):
        for env in (stock, fast):
            env.step(np.array((0, 0.3, 0), np.float32))
    difference = off(fast.render(), stock)
    assert difference[350:, :75].max() == 0
    assert np.median(difference[:350]) == 0
    assert difference[290:310, 299:301].max() == 0, "the hull's middle"


def test_it_draws_stock_itself() -> None:
    stock = QuietCarRacing("rgb_array")
    stock.reset(seed=5)
    for _ in range(80):
        stock.step(np.array((0.1, 0.5, 0), np.float32))
    assert off(FilmView().draw(stock), stock).mean() < 1


def test_a_touched_tile_changes_its_colour() -> None:
    env = FastCarRacing("rgb_array", lazy=True)
    env.reset(seed=0)
    for _ in range(50):
        env.step(np.zeros(3, np.float32))
    before = env.render()
    tiles: list[Any] = env.road or []
    for tile in tiles:
        tile.color[:] = env.road_color
    after = env.render()
    assert before is not None
    assert after is not None
    assert (before > after).all(-1).mean() > 0.02
