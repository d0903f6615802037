from __future__ import annotations

import itertools
from functools import partial
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from training.environment.coaching import SCORE, Coached, Coaching
from training.environment.pipeline import RepeatAction, make_env


class Track(gym.Env[int, Any]):
    """A track whose tiles the actions touch: an action is a list of their numbers."""

    def __init__(self, tiles: int = 100, frames: int = 4) -> None:
        self.road = [SimpleNamespace(road_visited=False) for _ in range(tiles)]
        self.tile_visited_count = 0
        self.ends: tuple[bool, bool, bool] = (False, False, False)
        self._frames = frames

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        for tile in self.road:
            tile.road_visited = False
        self.tile_visited_count = 0
        return 0, {}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        new = [self.road[index] for index in action if not self.road[index].road_visited]
        for tile in new:
            tile.road_visited = True
        self.tile_visited_count += len(new)
        terminated, truncated, lap_finished = self.ends
        info = {"frames": self._frames, "lap_finished": lap_finished}
        return 0, 10.0 * len(new) - 0.1, terminated, truncated, info


def start(coaching: Coaching, **options: Any) -> tuple[Track, Coached]:
    track = Track(**options)
    env = Coached(track, coaching)
    env.reset(seed=0)
    return track, env


def rewards(env: Coached, *actions: list[int]) -> list[float]:
    return [float(env.step(action)[1]) for action in actions]


def test_a_gap_costs_points_once_however_wide() -> None:
    _, env = start(Coaching(gap=20.0))
    assert rewards(env, [0, 1], [2, 3], [6], [7], [9], []) == pytest.approx(
        [19.9, 19.9, 9.9 - 20.0, 9.9, 9.9 - 20.0, -0.1]
    )


def test_skipped_tiles_cost_points_each() -> None:
    _, env = start(Coaching(skipped_tile=3.0))
    assert rewards(env, [0, 1], [2, 3], [6], [7], []) == pytest.approx(
        [19.9, 19.9, 9.9 - 2 * 3.0, 9.9, -0.1]
    )


def test_tiles_touched_in_another_order_are_no_gap() -> None:
    _, env = start(Coaching(gap=20.0))
    assert rewards(env, [0, 1], [4, 3, 2]) == pytest.approx([19.9, 29.9])


def test_a_tile_out_of_reach_is_not_taken_for_progress() -> None:
    """Where the road passes itself closely, the car may touch a far part of it."""
    _, env = start(Coaching(gap=20.0))
    assert rewards(env, [0, 1], [45], [2]) == pytest.approx([19.9, 9.9, 9.9])


def test_a_wide_gap_costs_as_much_once_the_car_drives_on_behind_it() -> None:
    _, env = start(Coaching(gap=20.0))
    assert rewards(env, [0, 1], [45], [46], [47], [50], [51]) == pytest.approx(
        [19.9, 9.9, 9.9 - 20.0, 9.9, 9.9 - 20.0, 9.9]
    )


def test_tiles_behind_the_start_are_no_progress() -> None:
    _, env = start(Coaching(gap=20.0))
    assert rewards(env, [0], [98, 99], [1], [3]) == pytest.approx([9.9, 19.9, 9.9, 9.9 - 20.0])


def test_an_episode_without_new_tiles_runs_out_of_patience() -> None:
    _, env = start(Coaching(patience=12))
    env.step([0])
    assert [env.step([])[2] for _ in range(2)] == [False, False]
    _, _, terminated, truncated, info = env.step([])
    assert (terminated, truncated) == (True, False)
    assert info[SCORE] == pytest.approx(10 - 4 * 0.1)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((True, False, False), -0.1 - 500),
        ((True, False, True), -0.1),
        ((False, True, False), -0.1),
    ],
)
def test_an_episode_that_is_lost_costs_points_and_no_other(
    ends: tuple[bool, bool, bool], expected: float
) -> None:
    track, env = start(Coaching(lost=500.0))
    track.ends = ends
    assert rewards(env, []) == [pytest.approx(expected)]


def test_running_out_of_patience_is_a_loss() -> None:
    _, env = start(Coaching(lost=500.0, patience=8))
    assert rewards(env, [0], [], []) == pytest.approx([9.9, -0.1, -500.1])


def test_a_new_tile_restores_patience() -> None:
    _, env = start(Coaching(patience=12))
    assert not any(env.step(action)[2] for action in ([0], [], [], [1], [], [], [2], [], []))
    assert env.step([])[2]


def test_time_that_is_up_is_not_called_impatience() -> None:
    track, env = start(Coaching(patience=4))
    track.ends = (False, True, False)
    assert env.step([])[2:4] == (False, True)


@pytest.mark.parametrize(
    ("endless", "ends", "expected"),
    [
        (True, (True, False, True), (False, True)),
        (False, (True, False, True), (True, False)),
        # Leaving the playfield is an end either way.
        (True, (True, False, False), (True, False)),
    ],
)
def test_only_the_end_of_a_lap_may_be_driven_on_from(
    endless: bool, ends: tuple[bool, bool, bool], expected: tuple[bool, bool]
) -> None:
    track, env = start(Coaching(endless=endless))
    track.ends = ends
    assert env.step([0])[2:4] == expected


def test_the_score_is_the_simulators_whatever_the_coaching() -> None:
    actions = [[0, 1], [], [5], [6, 7], []]
    scores = []
    for coaching in (Coaching(), Coaching(gap=20.0, patience=1000, endless=True)):
        track, env = start(coaching)
        for action in actions:
            *_, info = env.step(action)
            assert SCORE not in info
        track.ends = (True, False, True)
        scores.append(env.step([8])[4][SCORE])
    assert scores[0] == scores[1] == pytest.approx(60 - 0.1 * 6)


def test_the_defaults_change_nothing() -> None:
    env = RepeatAction(make_env(simulator="fast").unwrapped, 4)
    plain = RepeatAction(make_env(simulator="fast").unwrapped, 4)
    coached = Coached(env, Coaching())
    coached.reset(seed=3)
    plain.reset(seed=3)
    action = np.array([0.1, 0.5, 0.0], np.float32)
    total = 0.0
    for _ in range(40):
        ours, theirs = coached.step(action), plain.step(action)
        assert ours[1:4] == (float(theirs[1]), *theirs[2:4])
        total += float(theirs[1])
    assert total > 0


def test_on_the_real_track_driving_straight_on_leaves_a_gap() -> None:
    """Against the tiles' own flags, looked at from outside."""
    env = make_env(simulator="fast", each_decision=lambda e: Coached(e, Coaching(gap=20.0)))
    bare = make_env(simulator="fast")
    action = np.array([0.0, 0.3, 0.0], np.float32)
    env.reset(seed=1)
    bare.reset(seed=1)
    penalties = 0.0
    for _ in range(60):
        penalties += (float(bare.step(action)[1]) - float(env.step(action)[1])) / 0.1
    road = env.unwrapped.road  # type: ignore[attr-defined]
    furthest = max(i for i, tile in enumerate(road[: len(road) // 2]) if tile.road_visited)
    gaps = sum(
        not tile.road_visited and before.road_visited
        for before, tile in itertools.pairwise(road[: furthest + 1])
    )
    assert penalties == pytest.approx(20.0 * gaps, abs=1e-6)


@pytest.mark.parametrize("name", ["skipped_tile", "gap", "lost", "patience"])
def test_negative_numbers_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is -1; it must not be negative"):
        Coaching(**{name: -1})  # type: ignore[arg-type]


FORWARD = np.array([0.0, 0.3, 0.0], np.float32)


def heading(env: gym.Env[Any, Any]) -> float:
    """Of the car, in rad; it counts whole turns."""
    return float(env.unwrapped.car.hull.angle)  # type: ignore[attr-defined]


def speed(env: gym.Env[Any, Any]) -> float:
    """Of the car, in units/s."""
    return float(env.unwrapped.car.hull.linearVelocity.length)  # type: ignore[attr-defined]


def coached_car(spin: float) -> gym.Env[Any, Any]:
    """On a track, at some speed."""
    env = make_env(simulator="fast", each_decision=partial(Coached, coaching=Coaching()))
    env.reset(seed=1)
    for _ in range(5):
        env.step(FORWARD)
    coached: Any = env
    while not isinstance(coached, Coached):
        coached = coached.env
    coached.coaching = Coaching(spin=spin)
    return env


def test_an_episode_is_cut_before_a_spin_and_the_drive_goes_on() -> None:
    turned, slowed = [], []
    for _ in range(2):
        env = coached_car(spin=1.0)
        observation, _, terminated, truncated, info = env.step(FORWARD)
        assert (terminated, truncated) == (False, True)
        assert SCORE not in info
        before, fast = heading(env), speed(env)
        visited = env.unwrapped.tile_visited_count  # type: ignore[attr-defined]
        first, _ = env.reset()
        assert heading(env) == before
        slowed.append(speed(env) / fast)
        assert env.unwrapped.tile_visited_count == visited  # type: ignore[attr-defined]
        # But for the indicator of the spin, it sees what it saw.
        np.testing.assert_array_equal(first[:70, :, -1], observation[:70, :, -1])
        assert (first[70:, :, -1] != observation[70:, :, -1]).any()
        env.step(FORWARD)
        turned.append(heading(env) - before)
    assert abs(turned[0]) > 0.2
    assert turned[0] == turned[1]
    assert 0 < slowed[0] < 1
    assert slowed[0] == slowed[1]


def test_the_score_is_the_whole_drives() -> None:
    track, env = start(Coaching())
    hull = SimpleNamespace(angularVelocity=0.0, linearVelocity=np.array([30.0, 40.0]))
    track.car = SimpleNamespace(hull=hull, wheels=[])  # type: ignore[attr-defined]
    env.coaching = Coaching(spin=1.0)
    assert env.step([0, 1])[3]
    env.reset()
    assert abs(hull.angularVelocity) > 1.0
    assert 0 < np.linalg.norm(hull.linearVelocity) < 50.0
    track.ends = (True, False, True)
    _, _, terminated, truncated, info = env.step([2])
    assert (terminated, truncated) == (True, False)
    assert info[SCORE] == pytest.approx(19.9 + 9.9)


def test_with_a_seed_an_episode_begins_at_the_start_all_the_same() -> None:
    env = coached_car(spin=1.0)
    env.step(FORWARD)
    env.reset(seed=1)
    assert env.unwrapped.tile_visited_count == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("spin", [-0.1, 1.5])
def test_a_spins_chance_is_a_probability(spin: float) -> None:
    with pytest.raises(ValueError, match=rf"spin is {spin}; it must be in \[0, 1\]"):
        Coaching(spin=spin)
