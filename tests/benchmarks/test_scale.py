from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from benchmarks.iteration import Iteration
from benchmarks.scale import Options, measured_table, model_table
from benchmarks.scale_turn import Shape, Turn, measure
from benchmarks.scaling_model import Learning, suit
from benchmarks.scaling_rates import iteration_parts, measured_rates
from training.train import parse

LEARNING = Learning(
    batch=2048, epochs=4, minibatch=256, fewest_decisions=360_000, most_decisions=720_000
)


def iteration(
    *sampling: float, decisions: int = 1000, handling: float = 0.0, carried: float = 0.5
) -> Iteration:
    """One whose update takes two seconds, half of it arithmetic."""
    waiting = max(sampling) + carried
    return Iteration(
        wall=waiting + 2.25,
        decisions=decisions,
        runners=[{"sampling": seconds} for seconds in sampling],
        main={"waiting": waiting, "update": 2.0, "learning": 1.0, "weights": 0.25},
        handling=handling,
    )


def turn(*iterations: Iteration, samples_bytes: float = 3e7) -> Turn:
    return Turn(iterations, stored_bytes=7e7, samples_bytes=samples_bytes, weights_bytes=2e6)


ALONE, BUSY, CARRYING, SINGLE = Shape(1, 1, 8), Shape(1, 2, 8), Shape(2, 2, 8), Shape(1, 2, 1)
TURNS = {
    ALONE: [turn(iteration(1.0)), turn(iteration(1.2), iteration(0.8))],
    BUSY: [turn(iteration(1.0, 1.0))],
    CARRYING: [turn(iteration(1.0, 1.0, carried=0.1))],
    SINGLE: [turn(iteration(1.7, 1.7))],
}
CROWD = {
    Shape(1, 1, 1, crowd=True): [turn(iteration(0.1, handling=0.02))],
    Shape(1, 8, 1, crowd=True): [turn(iteration(0.1, handling=0.09))],
}


def test_a_shape_s_parts_are_medians_over_its_turns() -> None:
    parts = iteration_parts(TURNS[ALONE])
    assert (parts.wall, parts.lowest, parts.highest) == pytest.approx((3.75, 3.55, 3.95))
    assert parts.sampling == pytest.approx(1.0)
    assert parts.waiting == pytest.approx(1.5)
    assert parts.rest == pytest.approx(0.25)
    assert parts.decisions_per_s == pytest.approx(3000 / (3 * 3.75))


def test_rates_are_read_off_the_turns() -> None:
    rates = measured_rates(
        TURNS, CROWD, learner_samples_per_s=1, network_bytes_per_s=2, exchange_s=3
    )
    # Of a core, 2 ms with eight environments and 3.4 ms with one.
    assert rates.step_s == pytest.approx(1.6e-3)
    assert rates.decision_s == pytest.approx(1.8e-3)
    assert rates.spread == 0
    assert rates.handling_s == pytest.approx(0.01)
    assert rates.decision_bytes == pytest.approx(30_000)
    assert rates.store_bytes_per_s == pytest.approx(3e8)
    assert rates.assembly_s == pytest.approx(1e-3)
    assert (rates.weights_bytes, rates.weights_s) == (2e6, 0.25)
    assert (rates.learner_samples_per_s, rates.network_bytes_per_s, rates.exchange_s) == (1, 2, 3)


def test_noise_does_not_make_a_rate_negative() -> None:
    faster = {**TURNS, SINGLE: [turn(iteration(0.9, 0.9))]}
    rates = measured_rates(
        faster, CROWD, learner_samples_per_s=1, network_bytes_per_s=2, exchange_s=3
    )
    assert all(value >= 0 for value in vars(rates).values())


def test_tables_are_markdown_with_a_row_for_each_shape_and_cluster() -> None:
    rates = measured_rates(
        TURNS, CROWD, learner_samples_per_s=30_000, network_bytes_per_s=6e8, exchange_s=1e-3
    )
    measured = measured_table(TURNS).splitlines()
    assert len(measured) == 2 + len(TURNS)
    assert measured[2].startswith("| 1 | 1 × 8 | 3.75 (3.55–3.95) | 267 | 1.00 | 1.00 | 1.50 |")
    paper = model_table(rates, LEARNING).splitlines()
    assert len({line.count("|") for line in measured}) == 1
    assert len({line.count("|") for line in paper}) == 1
    assert any("--num-env-runners 512" in line for line in paper)


def test_the_table_s_flags_are_the_command_line_s() -> None:
    cluster = suit(512, 8, 8, LEARNING)
    recipe = parse(["--recipe", "swift", *cluster.flags.split()]).recipe
    assert (recipe.num_env_runners, recipe.num_envs_per_env_runner) == (512, cluster.envs)
    assert recipe.num_learners == 8
    assert recipe.train_batch_size_per_learner * 8 == cluster.batch


def test_shapes_follow_the_cores() -> None:
    assert [str(shape) for shape in Options(cpus=2).shapes] == [
        "1 nodes, 1 env runners × 8 environments",
        "1 nodes, 2 env runners × 8 environments",
        "2 nodes, 1 env runners × 8 environments",
        "2 nodes, 2 env runners × 8 environments",
        "1 nodes, 2 env runners × 1 environments",
    ]
    runners = [shape.runners for shape in Options(cpus=16, nodes=(1,)).shapes]
    assert runners == [1, 2, 4, 8, 15, 15]


@pytest.mark.parametrize(
    "wrong", [{"rounds": 0}, {"cpus": 0}, {"runners": (0,)}, {"nodes": (0,)}, {"many": 2}]
)
def test_options_that_measure_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"--{next(iter(wrong))}"):
        Options(**wrong)  # type: ignore[arg-type]


def test_what_is_sampled_on_another_node_goes_through_both_stores() -> None:
    """Training on two real nodes, in a process whose Ray is no other test's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        taken = pool.submit(measure, Shape(2, 1, 2), "swift", 64, 1, 1).result()
    (only,) = taken.iterations
    assert only.decisions >= 64
    (runner,) = only.runners
    assert 0 < runner["simulation"] < runner["sampling"] <= only.main["waiting"]
    assert 0 < only.main["learning"] < only.main["update"]
    assert only.main["waiting"] + only.main["update"] < only.wall
    pictures = 64 * 84 * 84
    assert pictures < taken.samples_bytes < 1.5 * pictures
    carried = taken.samples_bytes + taken.weights_bytes
    assert 1.9 * carried < taken.stored_bytes < 2.5 * carried
