from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from benchmarks.learning.iteration import Iteration
from benchmarks.learning.scale import Options, report
from benchmarks.learning.scale_turn import Shape, Turn, measure


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
    return Turn(iterations, samples_bytes=samples_bytes, weights_bytes=2e6)


ALONE, BUSY, CARRYING, SINGLE = Shape(1, 1, 8), Shape(1, 2, 8), Shape(2, 2, 8), Shape(1, 2, 1)
TURNS = {
    ALONE: [turn(iteration(1.0)), turn(iteration(1.2), iteration(0.8))],
    BUSY: [turn(iteration(1.0, 1.0))],
    CARRYING: [turn(iteration(1.0, 1.0, carried=0.1))],
    SINGLE: [turn(iteration(1.7, 1.7))],
}


def test_the_table_shows_medians_over_the_turns_of_a_shape() -> None:
    rows = report(TURNS).splitlines()
    assert len(rows) == 2 + len(TURNS)
    assert len({row.count("|") for row in rows}) == 1
    assert rows[2].startswith("| 1 | 1 × 8 | 3.75 (3.55–3.95) | 267 | 1.00 | 1.00 | 1.50 | 2.00 |")
    assert "| 30.0 |" in rows[2], "kilobytes of a decision"


def test_shapes_follow_the_cores() -> None:
    assert [str(shape) for shape in Options(cpus=2).shapes] == [
        "1 nodes, 1 env runners × 8 environments",
        "1 nodes, 2 env runners × 8 environments",
        "2 nodes, 1 env runners × 8 environments",
        "2 nodes, 2 env runners × 8 environments",
        "1 nodes, 2 env runners × 1 environments",
    ]
    runners = [shape.runners for shape in Options(cpus=16, nodes=(1,)).shapes]
    assert runners == [1, 2, 4, 8, 16, 16]


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"cpus": 0}, {"runners": (0,)}, {"nodes": (0,)}])
def test_options_that_measure_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"--{next(iter(wrong))}"):
        Options(**wrong)  # type: ignore[arg-type]


def test_a_turn_on_two_nodes_is_measured_by_parts() -> None:
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
    assert taken.weights_bytes > 1e6, "the network's"
