from __future__ import annotations

import dataclasses
from itertools import product

import pytest

from benchmarks.scaling_model import PARTS, SHORTEST_STRETCH, Learning, Rates, predict, suit

LEARNING = Learning(
    batch=2048, epochs=4, minibatch=256, fewest_decisions=360_000, most_decisions=720_000
)
FREE = Rates(
    decision_s=1e-12,
    step_s=0.0,
    spread=0.0,
    handling_s=0.0,
    decision_bytes=0.0,
    store_bytes_per_s=1e9,
    assembly_s=0.0,
    weights_bytes=0.0,
    weights_s=0.0,
    learner_samples_per_s=1e15,
    network_bytes_per_s=1e9,
    exchange_s=0.0,
)
"""A machine for which nothing costs anything."""
REAL = Rates(
    decision_s=1e-3,
    step_s=5e-4,
    spread=0.05,
    handling_s=1e-3,
    decision_bytes=30_000,
    store_bytes_per_s=5e8,
    assembly_s=1e-4,
    weights_bytes=2e6,
    weights_s=0.01,
    learner_samples_per_s=30_000,
    network_bytes_per_s=6.25e8,
    exchange_s=1e-3,
)


def test_the_batch_holds_a_stretch_of_every_environment() -> None:
    for cores, gpus in product((1, 7, 8, 64, 512), (1, 2, 4, 8)):
        cluster = suit(cores, gpus, 8, LEARNING)
        assert cluster.batch >= max(2048, cores * cluster.envs * SHORTEST_STRETCH)
        assert cluster.batch % gpus == 0
        assert cluster.batch // gpus >= LEARNING.minibatch


def test_few_cores_keep_the_recipe_s_batch_and_many_environments() -> None:
    small = suit(8, 1, 8, LEARNING)
    assert (small.envs, small.batch) == (8, 2048)
    assert (suit(64, 1, 8, LEARNING).envs, suit(64, 1, 8, LEARNING).batch) == (1, 2048)
    assert suit(512, 1, 8, LEARNING).batch == 512 * SHORTEST_STRETCH


def test_flags_are_those_of_the_command_line() -> None:
    assert suit(64, 1, 8, LEARNING).flags == (
        "--num-env-runners 64 --num-envs-per-env-runner 1 "
        "--train-batch-size-per-learner 2048 --num-gpus 1"
    )


@pytest.mark.parametrize(("cores", "gpus", "per_node"), [(0, 1, 8), (8, 0, 8), (8, 1, 0)])
def test_there_is_no_cluster_of_nothing(cores: int, gpus: int, per_node: int) -> None:
    with pytest.raises(ValueError, match="is 0"):
        suit(cores, gpus, per_node, LEARNING)


def seconds(part: str, cores: int, gpus: int, **rates: float) -> float:
    """Of a part, on a machine on which nothing else costs anything."""
    free = dataclasses.replace(FREE, **rates)
    return predict(suit(cores, gpus, 8, LEARNING), free, LEARNING).parts[part]


def test_each_part_is_what_its_own_rates_say() -> None:
    assert seconds("sampling", 8, 1, decision_s=1e-3, step_s=8e-3) == pytest.approx(2048 / 8 * 2e-3)
    assert seconds("handling", 64, 1, handling_s=1e-3) == pytest.approx(0.064)
    assert seconds("assembly", 8, 2, assembly_s=1e-4) == pytest.approx(0.1024)
    assert seconds("learning", 8, 1, learner_samples_per_s=8192) == pytest.approx(1.0)
    assert seconds("weights", 64, 1, weights_bytes=1e8, weights_s=0.1) == pytest.approx(0.8)


def test_a_node_alone_uses_no_network() -> None:
    carried = {"decision_bytes": 1e5, "network_bytes_per_s": 1e6}
    assert seconds("transfer", 8, 1, **carried) == pytest.approx(0.2048)
    assert seconds("transfer", 16, 1, **carried) == pytest.approx(0.1024 + 102.4)


def test_learners_pass_episodes_on_and_average_gradients() -> None:
    carried = {"decision_bytes": 1e5, "store_bytes_per_s": 1e9}
    assert seconds("transfer", 8, 2, **carried) == pytest.approx(0.2048 * 1.5)
    # Half a batch of four passes is 16 steps; each sends one whole set of gradients.
    exchanged = {"exchange_s": 0.01, "weights_bytes": 1e8}
    assert seconds("learning", 8, 2, **exchanged) == pytest.approx(16 * (0.01 + 0.1), rel=1e-6)


def test_the_slowest_of_many_env_runners_is_waited_for() -> None:
    even = seconds("sampling", 512, 1, decision_s=1e-3)
    assert seconds("sampling", 512, 1, decision_s=1e-3, spread=0.1) == pytest.approx(
        1.353 * even, rel=1e-3
    )


def test_parts_add_up_and_the_bottleneck_moves() -> None:
    found = {
        (cores, gpus): predict(suit(cores, gpus, 8, LEARNING), REAL, LEARNING)
        for cores, gpus in ((1, 1), (64, 1), (512, 8))
    }
    for (cores, gpus), each in found.items():
        assert tuple(each.parts) == PARTS
        batch = suit(cores, gpus, 8, LEARNING).batch
        assert each.seconds * each.decisions_per_s == pytest.approx(batch)
    assert [each.bottleneck for each in found.values()] == ["sampling", "learning", "transfer"]


def test_hours_lie_between_equal_decisions_and_equal_iterations() -> None:
    hour = dataclasses.replace(FREE, learner_samples_per_s=2048 * 4 / 20.48)  # 100 decisions/s
    small = predict(suit(8, 1, 8, LEARNING), hour, LEARNING)
    assert small.fewest_hours == pytest.approx(1.0)
    assert small.most_hours == pytest.approx(2.0)
    large = predict(suit(512, 1, 8, LEARNING), hour, LEARNING)
    assert large.fewest_hours == pytest.approx(1.0)
    assert large.most_hours == pytest.approx(2.0 * 8), "a batch eight times as large"
    wide = predict(suit(8, 4, 8, LEARNING), hour, LEARNING)
    assert wide.most_hours / wide.fewest_hours == pytest.approx(2.0 * 4), "a quarter of the steps"
