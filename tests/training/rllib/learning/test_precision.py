"""The number format of gradients."""

from __future__ import annotations

import dataclasses
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns

from training.environment.actions import output_space
from training.policy.network import Precision
from training.recipe import RECIPES, Recipe
from training.rllib.learning import precision as precision_module
from training.rllib.learning.precision import choose_precision
from training.rllib.module import module_spec

PUBLISHED = RECIPES["published"]


def build_module(recipe: Recipe) -> object:
    torch.manual_seed(0)
    spec = module_spec(recipe.description(), critic=recipe.critic)
    spec.observation_space = gym.spaces.Box(0, 255, (84, 84), np.uint8)
    spec.action_space = output_space(recipe.action_mapping)
    return spec.build()


@pytest.mark.parametrize("option", ["fp32", "bf16"])
def test_a_named_format_is_used(option: Precision) -> None:
    assert choose_precision(None, option, 8) == option


@pytest.mark.parametrize(("seconds", "chosen"), [((1.0, 0.5), "bf16"), ((0.5, 1.0), "fp32")])
def test_auto_is_the_faster_one(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], chosen: str
) -> None:
    module = build_module(PUBLISHED)
    by_format = dict(zip(("fp32", "bf16"), seconds, strict=True))
    monkeypatch.setattr(
        precision_module, "_seconds", lambda module, batch: by_format[module.precision]
    )
    assert choose_precision(module, "auto", 8) == chosen
    assert module.precision == "fp32"  # type: ignore[attr-defined]


def test_auto_tries_both_on_this_machine() -> None:
    assert choose_precision(build_module(PUBLISHED), "auto", 4) in ("fp32", "bf16")


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_gradients_in_bfloat16_are_close_to_those_in_32_bits(critic: str) -> None:
    recipe = dataclasses.replace(PUBLISHED, critic=critic)  # type: ignore[arg-type]
    observations = torch.randint(0, 256, (8, 84, 84, 4), dtype=torch.uint8)
    gradients = {}
    for name in ("fp32", "bf16"):
        module = build_module(recipe)
        module.precision = name  # type: ignore[attr-defined]
        batch = {Columns.OBS: observations}
        outputs = module.forward_train(batch)  # type: ignore[attr-defined]
        assert outputs[Columns.ACTION_DIST_INPUTS].dtype == torch.float32
        values = module.compute_values(batch, outputs.get(Columns.EMBEDDINGS))  # type: ignore[attr-defined]
        (outputs[Columns.ACTION_DIST_INPUTS].square().sum() + values.sum()).backward()
        gradients[name] = torch.cat(
            [parameter.grad.flatten() for parameter in module.parameters()]  # type: ignore[attr-defined]
        )
        assert gradients[name].dtype == torch.float32
    difference = (gradients["fp32"] - gradients["bf16"]).norm() / gradients["fp32"].norm()
    assert 0 < float(difference) < 0.05
    assert math.isfinite(float(difference))
