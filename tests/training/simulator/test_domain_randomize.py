"""`domain_randomize`, against stock's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.simulator.drivers import KINDS, Driver
from tests.training.simulator.conftest import QuietCarRacing
from training.environment.pipeline import shrink, to_grey
from training.simulator import FastCarRacing

RESETS: tuple[dict[str, Any], ...] = (
    {"seed": 30},
    {},
    {"options": {"randomize": False}},
    {"options": {"randomize": True}},
    {"seed": 31, "options": {}},
)


def colours(env: FastCarRacing | QuietCarRacing) -> list[float]:
    return [*env.road_color, *env.bg_color, *env.grass_color]


def test_colours_and_tracks_are_stocks() -> None:
    stock, fast = QuietCarRacing(domain_randomize=True), FastCarRacing(domain_randomize=True)
    seen = []
    for arguments in RESETS:
        stock.reset(**arguments)
        fast.reset(**arguments)
        assert colours(fast) == colours(stock)
        assert fast.track == stock.track
        seen.append(colours(fast))
    assert seen[1] == seen[2], "randomize: False keeps them"
    assert len({tuple(colour) for colour in seen}) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_close_to_stocks(kind: str) -> None:
    stock = QuietCarRacing("rgb_array", domain_randomize=True)
    fast = FastCarRacing("rgb_array", domain_randomize=True, lazy=True)
    grey, colour, film = [], [], []
    for arguments in RESETS[:4]:
        stock.reset(**arguments)
        fast.reset(**arguments)
        driver = Driver(kind, 30)
        for decision in range(60):
            if decision < 15 or decision % 4 == 0:
                score = stock.prev_reward if decision == 0 else stock.reward + 0.1
                picture = stock.picture(score)
                expected = shrink(to_grey(picture), 84).astype(np.int16)
                grey.append(np.abs(fast.look_grey(84) - expected))
                colour.append(np.abs(fast.look() - picture.astype(np.int16)))
            if decision % 20 == 0:
                shown: Any = stock.render()  # type: ignore[no-untyped-call]
                off = np.abs(np.asarray(fast.render()) - shown.astype(np.int16)).max(-1)
                film.append((off.mean(), (off > 24).mean()))
            action = driver(stock)
            for _ in range(4):
                stock.step(action)
                fast.step(action)
    assert np.mean(grey) < 0.3
    assert np.percentile(grey, 99.9) <= 8
    assert np.mean(colour) < 0.3
    assert np.percentile(colour, 99.9) <= 25
    assert max(film) < (1.5,)
    assert max(share for _, share in film) < 0.02
