"""The switch of phases, proved on what a real learner's update does, not on what it reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing

from tests.training.conftest import LOCAL
from training.environment.coaching import Coaching
from training.recipe import Recipe
from training.rllib.config import build_config
from training.rllib.learning.learner import DrivingLearner
from training.rllib.phases import PhaseCallback, coach_environments

pytestmark = pytest.mark.usefixtures("ray_cluster")


@dataclasses.dataclass(frozen=True)
class Observed:
    """What a learner's loss and update turn out to use."""

    lr: float
    entropy_coeff: float
    clip_param: float


def build(recipe: Recipe) -> Any:
    return build_config(recipe, LOCAL, seed=1).build_algo()


def learner_of(algorithm: Any) -> DrivingLearner:
    learner = algorithm.learner_group._learner
    assert isinstance(learner, DrivingLearner)
    return learner


def loss(learner: DrivingLearner, outputs: torch.Tensor, ratio: float, advantage: float) -> float:
    """The loss of two equal decisions whose probability changed by ``ratio``, at these outputs."""
    module = learner.module[DEFAULT_MODULE_ID].unwrapped()
    pipeline = module.description.pipeline
    observations = torch.zeros((2, *pipeline.observation_shape), dtype=torch.uint8)
    actions = torch.zeros((2, 3))
    distribution = module.get_train_action_dist_cls().from_logits(outputs)
    with torch.no_grad():
        values = module.compute_values({Columns.OBS: observations})
    batch = {
        Columns.OBS: observations,
        Columns.ACTIONS: actions,
        Columns.ACTION_DIST_INPUTS: outputs,
        Columns.ACTION_LOGP: distribution.logp(actions) - torch.log(torch.tensor(ratio)),
        Postprocessing.ADVANTAGES: torch.full((2,), advantage),
        Postprocessing.VALUE_TARGETS: values,
    }
    with torch.no_grad():
        total = learner.compute_loss_for_module(
            module_id=DEFAULT_MODULE_ID,
            config=learner.config.get_config_for_module(DEFAULT_MODULE_ID),
            batch=batch,
            fwd_out={Columns.ACTION_DIST_INPUTS: outputs},
        )
    return float(total)


def observe(learner: DrivingLearner) -> Observed:
    """Measure the three on the learner: by finite differences of its loss, and by a step."""
    narrow, wide = torch.zeros((2, 6)), torch.zeros((2, 6))
    wide[:, 3:] = 1.0  # a log standard deviation larger by 1 is 3 nats of entropy more
    entropy_coeff = (loss(learner, narrow, 1.0, 0.0) - loss(learner, wide, 1.0, 0.0)) / 3
    # With a ratio far above the clip range the surrogate is (1 + clip) × advantage.
    clip_param = (loss(learner, narrow, 1.0, 0.0) - loss(learner, narrow, 9.0, 1.0)) - 1
    (_, optimizer), *_ = learner.get_optimizers_for_module(DEFAULT_MODULE_ID)
    (parameter, *_) = [p for p in learner._params.values() if p.ndim == 1]
    before = parameter.detach().clone()
    fresh = torch.optim.Adam([parameter], lr=optimizer.param_groups[0]["lr"])
    parameter.grad = torch.ones_like(parameter)
    fresh.step()  # Adam's first step is the learning rate long
    lr = float((before - parameter.detach()).abs().max())
    with torch.no_grad():
        parameter.copy_(before)
    parameter.grad = None
    return Observed(lr=lr, entropy_coeff=entropy_coeff, clip_param=clip_param)


def exploring(recipe: Recipe) -> Any:
    return pytest.approx((recipe.lr, recipe.entropy_coeff, recipe.clip_param), rel=1e-3)


def finetuning(recipe: Recipe) -> Any:
    return pytest.approx(
        (recipe.finetune_lr, recipe.finetune_entropy, recipe.finetune_clip), rel=1e-2
    )


def values(observed: Observed) -> tuple[float, float, float]:
    return (observed.lr, observed.entropy_coeff, observed.clip_param)


@pytest.fixture(scope="module")
def trained(
    tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[list[dict[str, Any]], list[Observed], list[Path]]]:
    """Four iterations with the switch after the second: results, what was observed, checkpoints."""
    algorithm = build(tiny_recipe)
    results, observed, checkpoints = [], [], []
    for iteration in range(1, 5):
        observed.append(observe(learner_of(algorithm)))
        results.append(algorithm.train())
        folder = tmp_path_factory.mktemp(f"checkpoint-{iteration}")
        algorithm.save_to_path(str(folder))
        checkpoints.append(folder)
    yield results, observed, checkpoints
    algorithm.stop()


def test_every_iteration_before_the_switch_explores(trained: Any, tiny_recipe: Recipe) -> None:
    _, observed, _ = trained
    for before in observed[:2]:
        assert values(before) == exploring(tiny_recipe)


def test_every_iteration_after_the_switch_finetunes(trained: Any, tiny_recipe: Recipe) -> None:
    _, observed, _ = trained
    for after in observed[2:]:
        assert values(after) == finetuning(tiny_recipe)


def test_results_report_the_phase_and_what_was_in_force(trained: Any, tiny_recipe: Recipe) -> None:
    results, observed, _ = trained
    assert [r["phase"] for r in results] == ["explore", "explore", "finetune", "finetune"]
    for result, seen in zip(results, observed, strict=True):
        reported = (result["lr"], result["entropy_coeff"], result["clip_param"])
        assert reported == pytest.approx(values(seen), rel=1e-2)
        assert {"return_min", "return_mean", "return_max"} <= result.keys()


@pytest.mark.parametrize(("saved_after", "expected"), [(1, exploring), (2, finetuning)])
def test_a_restore_lands_in_the_right_phase(
    trained: Any, tiny_recipe: Recipe, saved_after: int, expected: Any
) -> None:
    _, _, checkpoints = trained
    algorithm = build(tiny_recipe)
    algorithm.restore(str(checkpoints[saved_after - 1]))
    try:
        assert values(observe(learner_of(algorithm))) == expected(tiny_recipe)
        algorithm.train()
        # Iteration 2 explores and is followed by the switch; iteration 3 is of phase finetune.
        assert values(observe(learner_of(algorithm))) == finetuning(tiny_recipe)
    finally:
        algorithm.stop()


def test_a_restore_by_tune_lands_in_the_right_phase(trained: Any, tiny_recipe: Recipe) -> None:
    _, _, checkpoints = trained
    algorithm = build(tiny_recipe)
    algorithm.restore(str(checkpoints[2]))
    try:
        assert algorithm.iteration == 3
        assert values(observe(learner_of(algorithm))) == finetuning(tiny_recipe)
    finally:
        algorithm.stop()


def test_the_learning_rate_survives_the_schedulers_of_an_update(
    trained: Any, tiny_recipe: Recipe
) -> None:
    results, _, _ = trained
    learner_results = results[-1]["learners"][DEFAULT_MODULE_ID]
    assert learner_results["default_optimizer_learning_rate"] == pytest.approx(
        tiny_recipe.finetune_lr
    )


def test_learning_rate_and_entropy_bonus_are_annealed_within_and_across_phases(
    tiny_recipe: Recipe,
) -> None:
    recipe = dataclasses.replace(tiny_recipe, anneal_to=0.1)
    algorithm = build(recipe)
    try:
        observed = []
        for _ in range(3):
            observed.append(values(observe(learner_of(algorithm))))
            result = algorithm.train()
            reported = (result["lr"], result["entropy_coeff"], result["clip_param"])
            assert reported == pytest.approx(observed[-1], rel=1e-2)
    finally:
        algorithm.stop()
    for iteration, (lr, entropy, clip) in enumerate(observed, start=1):
        factor = recipe.annealing(iteration)
        phase = exploring(recipe) if iteration <= 2 else finetuning(recipe)
        assert (lr / factor, entropy / factor, clip) == phase
    assert recipe.annealing(3) < recipe.annealing(2) < recipe.annealing(1) == 1


def coaching_of(algorithm: Any) -> Coaching:
    (env,) = algorithm.env_runner.env.unwrapped.envs
    coaching = env.get_wrapper_attr("coaching")
    assert isinstance(coaching, Coaching)
    return coaching


def test_environments_are_coached_as_the_phase_asks_also_after_a_restore(
    tiny_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(
        tiny_recipe, coaching=Coaching(gap=3.0), finetune_coaching=Coaching(gap=200.0, lost=500.0)
    )
    algorithm = build(recipe)
    try:
        coached = []
        for _ in range(3):
            coached.append(coaching_of(algorithm))
            algorithm.train()
        algorithm.save_to_path(str(tmp_path))
    finally:
        algorithm.stop()
    assert coached == [recipe.coaching, recipe.coaching, recipe.finetune_coaching]
    restored = build(recipe)
    try:
        assert coaching_of(restored) == recipe.coaching
        restored.restore(str(tmp_path))
        assert coaching_of(restored) == recipe.finetune_coaching
        # As RLlib tells when it has put a new env runner in a lost one's place.
        coach_environments(restored.env_runner, coaching=recipe.coaching)
        PhaseCallback(recipe).on_env_runners_recreated(
            algorithm=restored, env_runner_group=restored.env_runner_group
        )
        assert coaching_of(restored) == recipe.finetune_coaching
    finally:
        restored.stop()


def test_coefficients_are_read_from_where_the_update_reads_them(
    trained: Any, tiny_recipe: Recipe
) -> None:
    algorithm = build(tiny_recipe)
    try:
        assert dataclasses.astuple(learner_of(algorithm).coefficients()) == exploring(tiny_recipe)
    finally:
        algorithm.stop()
