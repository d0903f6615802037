"""A local Ray cluster, recipes small enough to train in a test, and a policy to evaluate."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.tune import Checkpoint

from tests.conftest import SMALL_NETWORK, PublishPolicy
from training.recipe import RECIPES, Recipe
from training.rllib.config import build_config
from training.rllib.ray_connection import start_ray
from training.rllib.resources import Resources
from training.store.policies import PolicyStore

LOCAL = Resources(
    num_env_runners=0,
    gpus_per_learner=0,
    max_concurrent_trials=1,
)
"""A trial that samples in its own process."""


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A cluster of two CPUs in this process's name."""
    start_ray(num_cpus=2, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def joining(ray_cluster: None) -> dict[str, str]:
    """Variables with which a command joins this cluster instead of starting a Ray of its own."""
    return {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    """The published recipe with a small network and batch: an iteration takes about a second."""
    return dataclasses.replace(
        RECIPES["published"],
        network=SMALL_NETWORK,
        num_env_runners=1,
        num_envs_per_env_runner=1,
        train_batch_size_per_learner=32,
        minibatch_size=32,
        num_epochs=1,
        max_iters=4,
        finetune_at=2,
        checkpoint_every=1,
    )


@pytest.fixture
def root(store: PolicyStore, publish_policy: PublishPolicy) -> Path:
    """A storage root with one policy."""
    publish_policy(store)
    return Path(store.storage.path)


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files with default names go to a folder of the test's own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def checkpoint(
    ray_cluster: None, tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> Checkpoint:
    """A real algorithm's checkpoint."""
    algorithm = build_config(tiny_recipe, LOCAL, seed=1).build_algo()
    folder = tmp_path_factory.mktemp("checkpoint")
    algorithm.save_to_path(str(folder))
    algorithm.stop()
    return Checkpoint.from_directory(str(folder))
