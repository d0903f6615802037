"""Measure training with more env runners and Ray nodes on this machine.

    python -m benchmarks.learning.scale     some 15 min on two cores
    python -m benchmarks.learning.scale --rounds 1 --iterations 1 --batch 512   a quick look

Each turn is a process and a Ray cluster of its own. With two nodes, the algorithm runs on the first
one, which has no CPUs for others, and all env runners on the second one, with its own object store:
samples and weights go from store to store over loopback.

Bytes are those of a sample and of the weights as Ray sends them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from statistics import fmean, median
from typing import Final

import tyro

from benchmarks.learning.iteration import Iteration
from benchmarks.learning.scale_turn import Shape, Turn, measure
from training.evaluation.cpus import available_cpus
from training.recipe import RECIPES
from training.rllib.resources import plan

_RECIPE: Final = "swift"


@dataclass(frozen=True)
class Options:
    """What is measured."""

    rounds: int = 3
    """Turns of each shape."""
    iterations: int = 3
    """Iterations in a turn, after those that are not counted."""
    runners: tuple[int, ...] = ()
    """Env runners; else 1, 2, 4 and so on, as this machine's cores hold them."""
    nodes: tuple[int, ...] = (1, 2)
    """Ray nodes."""
    cpus: int = field(default_factory=available_cpus)
    """Cores that Ray is told of; else those that this process may use."""
    batch: int = RECIPES[_RECIPE].train_batch_size_per_learner
    """Decisions of an iteration."""

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        for name in ("rounds", "iterations", "cpus", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("runners", "nodes"):
            if any(value < 1 for value in getattr(self, name)):
                raise ValueError(f"--{name} is {getattr(self, name)}; each must be at least 1")

    @property
    def shapes(self) -> list[Shape]:
        """What takes turns, the last one with a single environment in each env runner."""
        most = plan(cpus=self.cpus, gpus=0, trials=1, num_env_runners=self.cpus).num_env_runners
        doubled = [2**power for power in range(most.bit_length()) if 2**power < most]
        counts = self.runners or (*doubled, most)
        envs = RECIPES[_RECIPE].num_envs_per_env_runner
        shapes = [Shape(nodes, runners, envs) for nodes in self.nodes for runners in counts]
        return [*shapes, Shape(self.nodes[0], counts[-1], 1)]


def report(turns: dict[Shape, list[Turn]]) -> str:
    """The table as Markdown: medians of the iterations, and means of bytes."""
    lines = [
        "| nodes | env runners × environments | s/iteration (lowest–highest) | decisions/s | ratio "
        "| slowest env runner samples | learner waits | learner computes "
        "| samples, kB a decision | weights, MB |",
        "|---" * 10 + "|",
    ]
    base = 0.0
    for shape, taken in turns.items():
        iterations = [each for turn in taken for each in turn.iterations]
        walls = [each.wall for each in iterations]
        decisions = sum(each.decisions for each in iterations)
        rate = decisions / sum(walls)
        base = base or rate

        def middle(
            part: Callable[[Iteration], float], of: Sequence[Iteration] = iterations
        ) -> float:
            return median(part(each) for each in of)

        samples = fmean(turn.samples_bytes for turn in taken) / (decisions / len(iterations))
        lines.append(
            f"| {shape.nodes} | {shape.runners} × {shape.envs} "
            f"| {median(walls):.2f} ({min(walls):.2f}–{max(walls):.2f}) "
            f"| {rate:,.0f} | {rate / base:.2f} "
            f"| {middle(slowest_runner):.2f} | {middle(lambda each: each.main['waiting']):.2f} "
            f"| {middle(lambda each: each.main['update']):.2f} | {samples / 1e3:.1f} "
            f"| {fmean(turn.weights_bytes for turn in taken) / 1e6:.1f} |"
        )
    return "\n".join(lines)


def slowest_runner(iteration: Iteration) -> float:
    """Seconds that the slowest env runner sampled."""
    return max(runner["sampling"] for runner in iteration.runners)


def take_turns(shapes: Sequence[Shape], options: Options, rounds: int) -> dict[Shape, list[Turn]]:
    """Every shape's turns; each is in a process of its own, whose Ray ends with it."""
    turns: dict[Shape, list[Turn]] = {shape: [] for shape in shapes}
    for number in range(rounds):
        for shape in shapes:
            print(f"round {number + 1}: {shape}", flush=True)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                turn = pool.submit(
                    measure, shape, _RECIPE, options.batch, options.iterations, options.cpus
                )
                turns[shape].append(turn.result())
    return turns


def main() -> None:
    """Measure, and print the table."""
    options = tyro.cli(Options, description=__doc__)
    turns = take_turns(options.shapes, options, options.rounds)
    print(f"\nrecipe {_RECIPE}, batches of {options.batch}, {options.cpus} cores; medians, seconds")
    print("a learner on the CPU has as many threads as its env runners have cores\n")
    print(report(turns))


if __name__ == "__main__":
    main()
