"""FastCarRacing as an environment: the interface, and what must not stay behind."""

from __future__ import annotations

import gc
import pickle
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from numpy.typing import NDArray

from benchmarks.simulator.drivers import Driver
from tests.training.simulator.conftest import QuietCarRacing, state
from training.simulator import FastCarRacing


def test_a_step_returns_what_look_returns_unless_lazy() -> None:
    eager, lazy = FastCarRacing(), FastCarRacing(lazy=True)
    first = eager.reset(seed=5)[0]
    lazy.reset(seed=5)
    np.testing.assert_array_equal(first, lazy.look())
    for _ in range(10):
        action = np.array((0.2, 0.5, 0), np.float32)
        picture = eager.step(action)[0]
        last = lazy.step(action)[0]
        assert not np.array_equal(last, picture)
        np.testing.assert_array_equal(picture, lazy.look())


def test_environments_do_not_disturb_each_other() -> None:
    def drive(env: FastCarRacing, seed: int) -> Iterator[NDArray[np.uint8]]:
        env.reset(seed=seed)
        driver = Driver("good", seed)
        for _ in range(40):
            yield env.look_grey(84)
            action = driver(env)
            for _ in range(4):
                env.step(action)

    alone = [list(drive(FastCarRacing(lazy=True), seed)) for seed in (7, 8)]
    both = zip(drive(FastCarRacing(lazy=True), 7), drive(FastCarRacing(lazy=True), 8), strict=True)
    for one, other, together in zip(*alone, both, strict=True):
        np.testing.assert_array_equal(one, together[0])
        np.testing.assert_array_equal(other, together[1])


def test_a_used_environment_starts_afresh(fast: FastCarRacing) -> None:
    fast.reset(seed=9)
    for _ in range(200):
        fast.step(np.array((0, 0.5, 0), np.float32))
    fast.look_grey(84)
    fast.reset(seed=10)
    fresh = FastCarRacing(lazy=True)
    fresh.reset(seed=10)
    np.testing.assert_array_equal(fast.look_grey(84), fresh.look_grey(84))
    assert state(fast) == state(fresh)


def test_pickling_keeps_the_arguments() -> None:
    env = FastCarRacing("rgb_array", lap_complete_percent=0.9, continuous=False, lazy=True)
    env.reset(seed=1)
    copy = pickle.loads(pickle.dumps(env))
    assert (copy.render_mode, copy.lap_complete_percent) == ("rgb_array", 0.9)
    assert (copy.continuous, copy.lazy) == (False, True)
    env.reset(seed=2)
    copy.reset(seed=2)
    assert copy.track == env.track
    for _ in range(50):
        assert copy.step(3)[1:] == env.step(3)[1:]
    np.testing.assert_array_equal(copy.look_grey(84), env.look_grey(84))


def test_a_closed_environment_can_be_closed_and_used_again() -> None:
    env = FastCarRacing(lazy=True)
    env.close()
    env.reset(seed=4)
    picture = env.look_grey(84)
    env.close()
    env.close()
    assert env.world.bodyCount == 0
    with pytest.raises(ResetNeeded):
        env.look_grey(84)
    env.reset(seed=4)
    np.testing.assert_array_equal(env.look_grey(84), picture)


def test_resets_leave_nothing_behind(fast: FastCarRacing) -> None:
    for seed in range(5):
        fast.reset(seed=seed)
        assert fast.world.bodyCount == 1 + 5, "the road, and the car's parts"
        assert fast.world.proxyCount == len(fast.road or ()) + 4 + 4
    before = [weakref.ref(thing) for thing in (fast.car, *(fast.road or ())[:3])]
    fast.reset(seed=5)
    gc.collect()
    assert [thing() for thing in before] == [None] * 4


def test_an_unknown_render_mode_is_named() -> None:
    with pytest.raises(ValueError, match=r"'ansi'.*'rgb_array'"):
        FastCarRacing(render_mode="ansi")


def test_an_action_that_does_not_exist_is_named() -> None:
    env = FastCarRacing(continuous=False, lazy=True)
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match="action 5"):
        env.step(5)


def test_a_reset_is_asked_for() -> None:
    env = FastCarRacing("rgb_array")
    action = np.zeros(3, np.float32)
    for call in (env.look, lambda: env.look_grey(84), env.render, lambda: env.step(action)):
        with pytest.raises(ResetNeeded, match="reset"):
            call()


def test_the_constructor_is_stocks() -> None:
    stock, fast = QuietCarRacing(), FastCarRacing()
    assert fast.observation_space == stock.observation_space
    assert fast.action_space == stock.action_space
    assert fast.metadata == stock.metadata
