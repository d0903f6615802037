"""The trials of a search: drawn once, and judged the same way after a restart."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from training.recipe import Asha, Choice, LogUniform, Recipe
from training.runs.search import HalvingScheduler, TrialRecords, draw_trials, milestones
from training.store.background import StorageQueue
from training.store.storage import Storage, StorageError


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> Recipe:
    return dataclasses.replace(
        tiny_recipe,
        max_iters=100,
        asha=Asha(grace_period=10, reduction_factor=2),
        search={"lr": LogUniform(1e-5, 1e-3), "num_epochs": Choice((1, 2))},
    )


class Searching:
    """A search that can be killed and started again."""

    def __init__(self, root: Path, recipe: Recipe) -> None:
        self._root, self._recipe = root, recipe
        self.start()

    def start(self) -> None:
        self._queue = StorageQueue("test")
        self.records = TrialRecords.open(
            Storage.open(str(self._root)),
            "runs/r",
            self._queue,
            recipe=self._recipe,
            trials=4,
            seed=3,
        )
        self.names = list(self.records.trials)
        self._scheduler = HalvingScheduler(self._recipe, self.records)

    def kill(self) -> None:
        """Whatever was decided is stored, the rest is forgotten."""
        self._queue.finish(300)
        self.start()

    def judge(self, number: int, iteration: int, value: float) -> bool:
        return self._scheduler.judge(self.names[number], iteration, value)


def test_configurations_are_drawn_from_the_seed_and_the_ranges(recipe: Recipe) -> None:
    def configs(seed: int) -> list[dict[str, float]]:
        return [record.config for record in draw_trials(recipe, 4, seed).values()]

    assert configs(1) == configs(1) != configs(2)
    assert len({config["lr"] for config in configs(1)}) == 4
    assert all(1e-5 <= config["lr"] <= 1e-3 for config in configs(1))
    assert {config["num_epochs"] for config in configs(1)} <= {1, 2}
    (alone,) = draw_trials(recipe, 1, 1).values()
    assert alone.config == {}


def test_names_differ_from_those_of_an_earlier_run_of_that_name(recipe: Recipe) -> None:
    assert not draw_trials(recipe, 2, 1).keys() & draw_trials(recipe, 2, 1).keys()


def test_a_restart_keeps_names_configurations_and_decisions(tmp_path: Path, recipe: Recipe) -> None:
    search = Searching(tmp_path, recipe)
    assert search.judge(0, 10, 5.0)
    assert not search.judge(1, 10, 4.0)
    before = dict(search.records.trials)
    search.kill()
    assert search.records.trials == before
    assert "iteration 10" in (search.records.trials[search.names[1]].stopped or "")


def test_trials_stop_at_the_same_rungs_however_often_the_search_is_killed(
    tmp_path: Path, recipe: Recipe
) -> None:
    results = [
        (number, iteration, value)
        for iteration in (10, 20, 40, 80)
        for number, value in ((0, 5.0), (1, 4.0), (2, 6.0), (3, math.nan))
    ]

    def stopped(root: Path, *, kill_after: set[int]) -> dict[int, int]:
        search, ended = Searching(root, recipe), dict[int, int]()
        for step, (number, iteration, value) in enumerate(results):
            if number not in ended and not search.judge(number, iteration, value + iteration):
                ended[number] = iteration
            if step in kill_after:
                search.kill()
                # Trials repeat what they trained since their checkpoints.
                for again, repeated, other in results[: step + 1]:
                    if again not in ended:
                        assert search.judge(again, repeated, other + iteration + 99)
        return ended

    undisturbed = stopped(tmp_path / "a", kill_after=set())
    assert undisturbed
    assert stopped(tmp_path / "b", kill_after={0, 2, 4, 5, 9, 12}) == undisturbed


def test_an_unknown_return_stops_nothing(tmp_path: Path, recipe: Recipe) -> None:
    search = Searching(tmp_path, recipe)
    assert search.judge(0, 10, math.nan)
    assert search.judge(1, 10, -50.0)
    assert search.judge(2, 10, math.nan)
    search.kill()
    assert not search.judge(3, 10, -51.0)


def test_between_milestones_nothing_is_judged(tmp_path: Path, recipe: Recipe) -> None:
    assert milestones(recipe) == {10, 20, 40, 80}
    search = Searching(tmp_path, recipe)
    assert search.judge(0, 11, 5.0)
    assert search.judge(1, 11, 4.0)
    assert search.records.trials[search.names[0]].rungs == {}


def test_a_damaged_file_is_named(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "runs" / "r").mkdir(parents=True)
    (tmp_path / "runs" / "r" / "trials.json").write_text("{")
    with pytest.raises(StorageError, match=r"trials\.json is damaged"):
        Searching(tmp_path, recipe)
