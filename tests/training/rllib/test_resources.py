from __future__ import annotations

import time

import pytest
import ray

from training.rllib import resources
from training.rllib.resources import NoResourcesError, plan, wait_for_cluster


def test_a_t4_node_holds_two_trials_that_share_the_gpu() -> None:
    shared = plan(cpus=8, gpus=1, trials=6, num_env_runners=4)
    assert shared.max_concurrent_trials == 2
    assert shared.num_env_runners == 4
    assert shared.gpus_per_learner == 0.5


def test_a_single_trial_gets_all_its_env_runners() -> None:
    alone = plan(cpus=8, gpus=1, trials=1, num_env_runners=4)
    assert (alone.num_env_runners, alone.max_concurrent_trials) == (4, 1)
    assert alone.gpus_per_learner == 1.0


def test_a_large_cluster_holds_every_trial() -> None:
    roomy = plan(cpus=64, gpus=0, trials=6, num_env_runners=4)
    assert (roomy.num_env_runners, roomy.max_concurrent_trials) == (4, 6)


def test_the_limit_on_concurrency_is_kept() -> None:
    limited = plan(cpus=64, gpus=0, trials=6, num_env_runners=4, max_concurrent_trials=1)
    assert limited.max_concurrent_trials == 1


@pytest.mark.parametrize(("gpus", "trials"), [(0.5, 2), (1, 3), (3, 2), (4, 6)])
def test_every_trial_finds_its_share_on_one_gpu(gpus: float, trials: int) -> None:
    planned = plan(cpus=64, gpus=gpus, trials=trials, num_env_runners=4)
    share = planned.gpus_per_learner
    assert 0 < share <= 1
    places = int(gpus / share + 1e-6) if gpus < 1 else int(1 / share + 1e-6) * int(gpus)
    assert places >= planned.max_concurrent_trials


@pytest.mark.parametrize("cpus", [1, 2, 4, 6, 64])
@pytest.mark.parametrize(("trials", "runners"), [(1, 32), (6, 4)])
def test_what_is_planned_fits_the_cluster(cpus: int, trials: int, runners: int) -> None:
    planned = plan(cpus=cpus, gpus=0, trials=trials, num_env_runners=runners)
    assert planned.num_env_runners >= 1
    assert planned.max_concurrent_trials * planned.num_env_runners <= cpus
    if trials > 1 and cpus > 1:
        assert planned.max_concurrent_trials > 1, "the first trial of a search must be stoppable"


def test_waiting_for_a_cluster_that_scales_from_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = iter([{}, {"CPU": 0.0}, {"CPU": 8.0, "GPU": 1.0}])
    asked: list[list[dict[str, float]]] = []
    monkeypatch.setattr(ray, "cluster_resources", lambda: next(shown))
    monkeypatch.setattr(resources, "request_resources", lambda *, bundles: asked.append(bundles))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert wait_for_cluster(1) == (8.0, 1.0)
    assert asked == [[{"CPU": 1, "GPU": 1}], []], "asked for once, and withdrawn"


def test_gpus_that_never_come_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr(resources, "request_resources", lambda bundles: None)
    with pytest.raises(NoResourcesError, match=r"0 GPUs.*--num-gpus 0"):
        wait_for_cluster(1, timeout_s=0)


def test_gpus_of_the_cluster_can_be_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0, "GPU": 1.0})
    assert wait_for_cluster(None) == (2.0, 1.0)
    assert wait_for_cluster(0) == (2.0, 0.0)
