from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.tune.search.sample import Categorical, Float

from tests.conftest import build_manifest
from tests.training.conftest import LOCAL
from training.environment.actions import MapActions
from training.environment.pipeline import make_env
from training.policy.acting import Policy, weights_to_bytes
from training.policy.published import PublishedPolicy
from training.recipe import RECIPES, Recipe
from training.rllib.checkpoint import NotACheckpointError, is_checkpoint, load_actor
from training.rllib.config import build_config, make_training_env, search_space
from training.store.published import describe_files


def test_the_published_recipe_reaches_rllib() -> None:
    config = build_config(RECIPES["published"], LOCAL)
    assert config.gamma == 0.99
    assert config.lambda_ == 0.95
    assert config.clip_param == 0.2
    assert config.vf_loss_coeff == 0.5
    assert config.grad_clip == 0.5
    assert config.grad_clip_by == "global_norm"
    assert config.lr == 2e-4
    assert config.entropy_coeff == 0.037
    assert config.train_batch_size_per_learner == 4096
    assert config.minibatch_size == 256
    assert config.num_epochs == 10
    assert config.num_envs_per_env_runner == 2


def test_the_swift_recipe_reaches_rllib() -> None:
    recipe = RECIPES["swift"]
    config = build_config(recipe, LOCAL)
    assert config.learner_config_dict["adam_epsilon"] == 1e-5
    model = config.rl_module_spec.model_config
    assert model["critic"] == "shared"
    assert model["initialization"] == "orthogonal"
    assert model["description"]["network"]["distribution"] == "beta"
    assert not search_space(recipe)


def test_a_search_takes_the_recipe_s_ranges() -> None:
    space = search_space(RECIPES["published"])
    lr, epochs = space["lr"], space["num_epochs"]
    assert isinstance(lr, Float)
    assert (lr.lower, lr.upper) == (1e-4, 5e-4)
    assert isinstance(epochs, Categorical)
    assert list(epochs.categories) == [6, 10]
    assert (
        build_config(RECIPES["published"], LOCAL, searching=True).lr is not RECIPES["published"].lr
    )


def test_a_gpu_share_goes_to_the_learner() -> None:
    config = build_config(RECIPES["published"], dataclasses.replace(LOCAL, gpus_per_learner=0.5))
    assert config.num_gpus_per_learner == 0.5


class Recorder:
    """Stands where the simulator is, and keeps the controls that it is given."""

    def __init__(self) -> None:
        self.env = make_env()
        self.controls: list[NDArray[np.float32]] = []
        step = self.env.step

        def record(action: Any) -> Any:
            self.controls.append(np.asarray(action))
            return step(action)

        self.env.step = record  # type: ignore[method-assign]


@pytest.fixture(scope="module", params=["published", "swift"])
def trained_recipe(request: pytest.FixtureRequest, tiny_recipe: Recipe) -> Recipe:
    """Of either kind, small."""
    if request.param == "published":
        return tiny_recipe
    return dataclasses.replace(
        RECIPES["swift"],
        num_envs_per_env_runner=1,
        train_batch_size_per_learner=32,
        minibatch_size=32,
        num_epochs=1,
    )


@pytest.fixture(scope="module")
def checkpoint(
    ray_cluster: None, trained_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The checkpoint of an algorithm that has trained once."""
    assert ray.is_initialized()
    algorithm = build_config(trained_recipe, LOCAL, seed=1).build_algo()
    algorithm.train()
    folder = tmp_path_factory.mktemp("checkpoint")
    algorithm.save_to_path(str(folder))
    algorithm.stop()
    return folder


def test_training_and_the_served_policy_drive_the_same(checkpoint: Path) -> None:
    """The same pictures through RLlib's module and connectors, and through the served policy."""
    actor, description = load_actor(checkpoint)
    weights = weights_to_bytes(actor)
    manifest = build_manifest(weights).model_copy(update=dict(description))
    policy = Policy.from_published(PublishedPolicy(manifest, weights))
    module: Any = RLModule.from_checkpoint(
        checkpoint / "learner_group/learner/rl_module/default_policy"
    )
    recorder = Recorder()
    training_env = MapActions(recorder.env, description.action_mapping)
    observation, _ = recorder.env.reset(seed=5)
    served = []
    for _ in range(50):
        batch = {Columns.OBS: _tensor(observation[None])}
        outputs = module.forward_inference(batch)[Columns.ACTION_DIST_INPUTS]
        distribution = module.get_inference_action_dist_cls().from_logits(outputs)
        greedy = distribution.to_deterministic().sample()[0].detach().numpy()
        served.append(policy.act(observation[None])[0])
        observation, *_ = training_env.step(greedy)
    difference = np.abs(np.array(served) - np.array(recorder.controls)).max()
    assert difference <= 1e-5


def _tensor(array: NDArray[Any]) -> Any:
    import torch

    return torch.from_numpy(array)


def test_rllib_leaves_actions_as_the_module_gives_them(ray_cluster: None) -> None:
    config = build_config(RECIPES["published"], LOCAL)
    assert not config.normalize_actions
    assert not config.clip_actions
    env = make_training_env(RECIPES["published"])
    assert isinstance(env, MapActions)
    env.close()  # type: ignore[no-untyped-call]


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    assert is_checkpoint(checkpoint)
    assert not is_checkpoint(tmp_path)
    with pytest.raises(NotACheckpointError, match="not an RLlib checkpoint"):
        load_actor(tmp_path)


def test_a_checkpoint_that_was_cut_short_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(checkpoint, broken)
    state = broken / "learner_group/learner/rl_module/default_policy/module_state.pkl"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(NotACheckpointError, match="not a whole checkpoint"):
        load_actor(broken)


def test_the_description_travels_in_the_checkpoint(
    checkpoint: Path, trained_recipe: Recipe
) -> None:
    actor, description = load_actor(checkpoint)
    assert description == trained_recipe.description()
    assert describe_files(weights_to_bytes(actor))
