"""The pipeline beside Gymnasium's own wrappers on the stock simulator: the same to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.box2d.car_racing import PLAYFIELD
from gymnasium.wrappers import (
    FrameStackObservation,
    GrayscaleObservation,
    TransformObservation,
    TransformReward,
)
from numpy.typing import NDArray
from PIL import Image

from training.environment.pipeline import make_env

GAS = np.array([0, 1, 0], np.float32)


class RepeatFour(gym.Wrapper[Any, Any, Any, Any]):
    """The frame skip of the reference: every frame is stepped and drawn, the last one kept."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        total = 0.0
        frames = 0
        terminated = truncated = False
        while frames < 4 and not terminated and not truncated:
            picture, reward, terminated, truncated, _ = self.env.step(action)
            total += float(reward)
            frames += 1
        return picture, total, terminated, truncated, {"frames": frames}


def small_and_scaled(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    small = Image.fromarray(grey).resize((84, 84), Image.Resampling.BILINEAR)
    return np.asarray(small).astype(np.float32) / np.float32(255)


def reference_env(max_frames: int = 1000) -> gym.Env[Any, Any]:
    """The published pipeline out of stock parts only, with float pictures."""
    env = gym.make("CarRacing-v3", max_episode_steps=max_frames)
    env = GrayscaleObservation(RepeatFour(env))
    env = TransformObservation(env, small_and_scaled, gym.spaces.Box(0, 1, (84, 84)))
    env = TransformReward(env, lambda reward: float(reward) * 0.1)
    return TransformObservation(
        FrameStackObservation(env, 4),
        lambda stack: np.moveaxis(stack, 0, -1),
        gym.spaces.Box(0, 1, (84, 84, 4)),
    )


@dataclass(frozen=True)
class Course:
    """An episode that both environments are driven through."""

    seed: int
    max_frames: int = 1000
    straight: bool = False
    """Full gas and no steering, off the field; otherwise some driving about."""


@dataclass(frozen=True)
class Step:
    """What one environment answered."""

    picture: NDArray[Any]
    reward: float
    terminated: bool
    truncated: bool
    frames: int


@dataclass(frozen=True)
class Compared:
    """What both environments answered to one decision; pictures are compared and dropped."""

    course: Course
    decision: int
    ours: Step
    reference: Step
    pictures_equal: bool


def actions(course: Course) -> Iterator[NDArray[np.float32]]:
    rng = np.random.default_rng(course.seed)
    while True:
        if course.straight:
            yield GAS
            continue
        steering = np.clip(rng.normal(0, 0.3), -1, 1)
        yield np.array([steering, rng.uniform(0.2, 0.8), rng.choice([0, 0, 0, 0.3])], np.float32)


def same(ours: NDArray[Any], reference: NDArray[Any]) -> bool:
    assert ours.dtype == np.uint8
    return np.array_equal(ours.astype(np.float32) / np.float32(255), reference)


EMPTY = np.empty(0)


def step(env: gym.Env[Any, Any], action: NDArray[np.float32]) -> Step:
    picture, reward, terminated, truncated, info = env.step(action)
    return Step(picture, float(reward), terminated, truncated, info["frames"])


def without_picture(result: Step) -> Step:
    return Step(EMPTY, result.reward, result.terminated, result.truncated, result.frames)


def alike(ours: NDArray[Any], reference: NDArray[Any]) -> bool:
    return bool(np.abs(ours.astype(int) - reference).mean() < 1)


def drive_both(
    course: Course,
    ours: gym.Env[Any, Any],
    reference: gym.Env[Any, Any],
    same: Callable[[NDArray[Any], NDArray[Any]], bool] = same,
) -> Iterator[Compared]:
    ours_first, _ = ours.reset(seed=course.seed)
    reference_first, _ = reference.reset(seed=course.seed)
    nothing = Step(EMPTY, 0, terminated=False, truncated=False, frames=0)
    yield Compared(course, 0, nothing, nothing, same(ours_first, reference_first))
    for decision, action in enumerate(actions(course), start=1):
        a, b = step(ours, action), step(reference, action)
        yield Compared(
            course, decision, without_picture(a), without_picture(b), same(a.picture, b.picture)
        )
        if a.terminated or a.truncated or b.terminated or b.truncated:
            return


LONG_COURSES = (
    Course(seed=8, straight=True),
    Course(seed=0),
    Course(seed=16, straight=True),
    Course(seed=1),
)
CUT_COURSES = (Course(seed=3, max_frames=643), Course(seed=5, max_frames=21))


@pytest.fixture(scope="module")
def compared() -> list[Compared]:
    """Every decision of some courses; the environments are reused from course to course."""
    steps: list[Compared] = []
    for courses in (LONG_COURSES, CUT_COURSES):
        for course in courses:
            # Two time limits, two pairs; within a pair one course follows the other.
            if course.max_frames != 1000 or course is courses[0]:
                ours = make_env(simulator="stock", max_frames=course.max_frames)
                reference = reference_env(course.max_frames)
            steps.extend(drive_both(course, ours, reference))
    return steps


def last_steps(compared: list[Compared]) -> dict[int, Step]:
    """The end of each course by its seed."""
    return {step.course.seed: step.ours for step in compared}


def where(steps: list[Compared]) -> list[str]:
    return [f"{step.course}, decision {step.decision}" for step in steps]


def test_pictures_are_the_stock_pipelines_to_the_bit(compared: list[Compared]) -> None:
    assert not where([step for step in compared if not step.pictures_equal])


def test_rewards_are_the_stock_pipelines_to_the_bit(compared: list[Compared]) -> None:
    assert not where([step for step in compared if step.ours.reward != step.reference.reward])
    assert max(step.ours.reward for step in compared) > 0, "no tile was visited"


def test_episodes_end_where_the_stock_pipelines_do(compared: list[Compared]) -> None:
    def end(step: Step) -> tuple[bool, bool, int]:
        return step.terminated, step.truncated, step.frames

    assert not where([step for step in compared if end(step.ours) != end(step.reference)])


@pytest.mark.parametrize("seed", [8, 16])
def test_leaving_the_field_ends_an_episode_inside_a_skip(
    compared: list[Compared], seed: int
) -> None:
    last = last_steps(compared)[seed]
    assert last.terminated
    assert not last.truncated
    assert last.frames < 4
    assert last.reward == pytest.approx(-10, abs=0.1)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_time_limit_ends_an_episode_after_a_thousand_frames(
    compared: list[Compared], seed: int
) -> None:
    frames = sum(step.ours.frames for step in compared if step.course.seed == seed)
    assert last_steps(compared)[seed].truncated
    assert frames == 1000


@pytest.mark.parametrize(("seed", "max_frames", "rest"), [(3, 643, 3), (5, 21, 1)])
def test_a_time_limit_ends_an_episode_inside_a_skip(
    compared: list[Compared], seed: int, max_frames: int, rest: int
) -> None:
    last = last_steps(compared)[seed]
    assert last.truncated
    assert last.frames == rest
    assert sum(s.ours.frames for s in compared if s.course.seed == seed) == max_frames


def test_both_simulators_pay_and_end_alike() -> None:
    fast, stock = (make_env(simulator=name, max_frames=203) for name in ("fast", "stock"))
    driven = list(drive_both(Course(seed=16, straight=True), fast, stock, same=alike))
    driven += drive_both(Course(seed=2), fast, stock, same=alike)
    assert not where([step for step in driven if step.ours != step.reference])
    assert not where([step for step in driven if not step.pictures_equal])


def test_the_field_that_the_straight_courses_leave_is_the_simulators() -> None:
    env = make_env()
    env.reset(seed=16)
    for _ in range(60):
        _, _, terminated, _, info = env.step(GAS)
        if terminated:
            break
    assert info["lap_finished"] is False
    position = env.unwrapped.car.hull.position  # type: ignore[attr-defined]
    assert max(abs(position[0]), abs(position[1])) > PLAYFIELD
