from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import pytest
import torch

from training.environment.actions import to_controls
from training.environment.coaching import Coaching
from training.environment.observation import Pipeline
from training.policy.distributions import mean
from training.policy.network import NetworkShape
from training.recipe import RECIPES, Asha, Choice, LogUniform, Recipe


def numbers(recipe: Recipe) -> dict[str, Any]:
    """The numbers of a recipe, which the command line sets."""
    values = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(recipe)}
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def test_the_published_recipe_searches_these_ranges() -> None:
    assert RECIPES["published"].search == {
        "lr": LogUniform(1e-4, 5e-4),
        "entropy_coeff": LogUniform(5e-3, 5e-2),
        "train_batch_size_per_learner": Choice((4096, 8192)),
        "minibatch_size": Choice((256, 512)),
        "num_epochs": Choice((6, 10)),
    }
    assert RECIPES["published"].asha == Asha(grace_period=15, reduction_factor=3)


def test_what_is_searched_is_a_hyperparameter_whose_default_is_in_range() -> None:
    recipe = Recipe()
    for name, within in recipe.search.items():
        value = numbers(recipe)[name]
        if isinstance(within, LogUniform):
            assert within.low <= value <= within.high
        else:
            assert value in within.values


def test_every_combination_that_the_search_can_draw_is_taken() -> None:
    search = Recipe().search
    corners = [
        (within.low, within.high) if isinstance(within, LogUniform) else within.values
        for within in search.values()
    ]
    for drawn in itertools.product(*corners):
        values: dict[str, Any] = dict(zip(search, drawn, strict=True))
        dataclasses.replace(Recipe(), **values)


@pytest.mark.parametrize(
    ("iteration", "phase"),
    [(1, "explore"), (499, "explore"), (500, "explore"), (501, "finetune"), (1000, "finetune")],
)
def test_iterations_after_the_switch_finetune(iteration: int, phase: str) -> None:
    assert Recipe().phase(iteration) == phase


def test_a_recipe_may_finetune_from_the_start_or_never() -> None:
    assert Recipe(finetune_at=0).phase(1) == "finetune"
    assert Recipe(max_iters=10, finetune_at=10).phase(10) == "explore"


def test_the_published_recipe_is_not_annealed_nor_coached() -> None:
    assert [Recipe().annealing(iteration) for iteration in (1, 500, 1000)] == [1, 1, 1]
    assert Recipe().coaching == Recipe().finetune_coaching == Coaching()


def test_annealing_falls_linearly_over_a_trial() -> None:
    recipe = Recipe(max_iters=11, finetune_at=5, anneal_to=0.1)
    factors = [recipe.annealing(iteration) for iteration in (1, 2, 6, 11, 12)]
    assert factors == pytest.approx([1, 0.91, 0.55, 0.1, 0.1])
    assert Recipe(max_iters=1, finetune_at=0, anneal_to=0.1).annealing(1) == 1


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_s_network_can_be_built(name: str) -> None:
    description = RECIPES[name].description()
    observations = torch.zeros((1, *description.pipeline.observation_shape), dtype=torch.uint8)
    parameters = description.build_actor()(observations)
    action = mean(description.network.distribution, parameters).detach().numpy()
    assert to_controls(action, description.action_mapping).shape == (1, 3)


def test_a_recipe_describes_how_its_policies_run() -> None:
    recipe = Recipe(pipeline=Pipeline(size=42), network=NetworkShape(hidden=8))
    description = recipe.description()
    assert description.pipeline == recipe.pipeline
    assert description.network == recipe.network
    assert description.action_filter == recipe.action_filter
    assert description.action_mapping == "clip_unit_to_bounds"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(
            (name, 0)
            for name in (
                "max_iters",
                "num_samples",
                "train_batch_size_per_learner",
                "minibatch_size",
                "num_epochs",
                "num_env_runners",
                "num_envs_per_env_runner",
                "checkpoint_every",
                "keep_checkpoints",
            )
        ),
        *(
            (name, value)
            for name in (
                "lr",
                "finetune_lr",
                "clip_param",
                "finetune_clip",
                "vf_clip_param",
                "vf_loss_coeff",
                "grad_clip",
            )
            for value in (0, math.nan)
        ),
        *((name, value) for name in ("gamma", "gae_lambda") for value in (0, 1.01, math.nan)),
        *((name, -1) for name in ("entropy_coeff", "finetune_entropy", "finetune_at")),
    ],
)
def test_a_value_that_cannot_train_is_refused(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{option} is {value}"):
        Recipe(**{option: value})


def test_a_minibatch_larger_than_the_batch_is_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"512.*256"):
        Recipe(train_batch_size_per_learner=256, minibatch_size=512)


@pytest.mark.parametrize("option", ["gamma", "gae_lambda"])
def test_no_discount_is_taken(option: str) -> None:
    Recipe(**{option: 1.0})  # type: ignore[arg-type]
