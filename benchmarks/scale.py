"""How training scales: env runners and Ray nodes on this machine, and on paper beyond it.

    python -m benchmarks.scale                                         some 15 min on two cores
    python -m benchmarks.scale --rounds 1 --iterations 1 --batch 512   a quick look

Each turn is a process and a Ray cluster of its own. With two nodes, the algorithm is on the first
one, which has no CPUs for others, and every env runner on the second one, with an object store of
its own: what they sample and the weights that they are sent go from store to store, over loopback.

Bytes are what Ray serializes of an env runner's answer and of the weights, beside what the
raylets counted as created in their stores. The second table is ``benchmarks.scaling_model``'s,
from the rates that the first one shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Final

import tyro

from benchmarks.scale_turn import Shape, Turn, measure
from benchmarks.scaling_model import Learning, Rates, predict, suit
from benchmarks.scaling_rates import iteration_parts, measured_rates
from training.evaluation.cpus import available_cpus
from training.recipe import RECIPES
from training.rllib.resources import plan

_RECIPE: Final = "swift"
_CLUSTERS: Final = ((8, 1), (64, 1), (64, 2), (64, 8), (512, 1), (512, 2), (512, 8))
"""Env-runner cores and GPUs of the table on paper."""
_CORES_PER_NODE: Final = 8
"""Of a g4dn.2xlarge, and of the m5.2xlarge beside it."""


@dataclass(frozen=True)
class Options:
    """What is measured, and what is assumed of machines that are not here."""

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
    many: int = 8
    """Env runners of the turn that shows what each one costs the main process; 0 for none."""
    t4_learner_samples_per_s: float = 30_000.0
    """Assumed: samples, times epochs, that a T4 learns from in a second. It is 6 % of the T4's 8.1
    TFLOPS; forwards and backwards are 15.7 MFLOP a sample."""
    network_gbit_per_s: float = 5.0
    """Assumed: between two nodes, in each direction; what AWS gives a single connection."""
    exchange_ms: float = 1.0
    """Assumed: latency of averaging gradients over the network, for each optimizer step."""
    fewest_decisions: float = 0.37e6
    """Until a score of 900: the quickest run of the recipe as it is."""
    most_decisions: float = 0.62e6
    """Until a score of 900: the slowest one."""

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        for name in ("rounds", "iterations", "cpus", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("runners", "nodes"):
            if any(value < 1 for value in getattr(self, name)):
                raise ValueError(f"--{name} is {getattr(self, name)}; each must be at least 1")
        if self.many in (1, 2) or self.many < 0:
            raise ValueError(f"--many is {self.many}; it must be 0, or 3 and more")

    @property
    def shapes(self) -> list[Shape]:
        """What takes turns, the last one with a single environment in each env runner."""
        most = plan(cpus=self.cpus, gpus=0, trials=1, num_env_runners=self.cpus).num_env_runners
        doubled = [2**power for power in range(most.bit_length()) if 2**power < most]
        counts = self.runners or (*doubled, most)
        envs = RECIPES[_RECIPE].num_envs_per_env_runner
        shapes = [Shape(nodes, runners, envs) for nodes in self.nodes for runners in counts]
        return [*shapes, Shape(self.nodes[0], counts[-1], 1)]


def measured_table(turns: dict[Shape, list[Turn]]) -> str:
    """The first table as Markdown: medians of the iterations."""
    lines = [
        "| nodes | env runners × environments | s/iteration (lowest–highest) | decisions/s | ratio "
        "| slowest env runner samples | learner waits | learner computes | the rest "
        "| samples, MB | weights, MB | created in all stores, MB |",
        "|---" * 12 + "|",
    ]
    base = 0.0
    for shape, taken in turns.items():
        parts = iteration_parts(taken)
        base = base or parts.decisions_per_s
        lines.append(
            f"| {shape.nodes} | {shape.runners} × {shape.envs} "
            f"| {parts.wall:.2f} ({parts.lowest:.2f}–{parts.highest:.2f}) "
            f"| {parts.decisions_per_s:,.0f} | {parts.decisions_per_s / base:.2f} "
            f"| {parts.sampling:.2f} | {parts.waiting:.2f} | {parts.update:.2f} "
            f"| {parts.rest:.2f} | {parts.samples_bytes / 1e6:.1f} "
            f"| {parts.weights_bytes / 1e6:.1f} | {parts.stored_bytes / 1e6:.1f} |"
        )
    return "\n".join(lines)


def model_table(rates: Rates, learning: Learning) -> str:
    """The second table as Markdown."""
    lines = [
        "| env-runner cores | GPUs | s/iteration | decisions/s | where its time goes "
        "| hours to 900 | T4 hours to 900 | flags |",
        "|---" * 8 + "|",
    ]
    for cores, gpus in _CLUSTERS:
        cluster = suit(cores, gpus, _CORES_PER_NODE, learning)
        found = predict(cluster, rates, learning)
        largest = sorted(found.parts.items(), key=lambda part: -part[1])[:3]
        shares = ", ".join(f"{name} {value / found.seconds:.0%}" for name, value in largest)
        hours = (found.fewest_hours, found.most_hours)
        lines.append(
            f"| {cores} | {gpus} | {found.seconds:.2f} | {found.decisions_per_s:,.0f} | {shares} "
            f"| {hours[0]:.2f}–{hours[1]:.2f} | {gpus * hours[0]:.2f}–{gpus * hours[1]:.2f} "
            f"| `{cluster.flags}` |"
        )
    return "\n".join(lines)


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
    """Measure, and print both tables."""
    options = tyro.cli(Options, description=__doc__)
    turns = take_turns(options.shapes, options, options.rounds)
    print(f"\nrecipe {_RECIPE}, batches of {options.batch}, {options.cpus} cores; medians, seconds")
    print("a learner on the CPU has as many threads as its env runners have cores\n")
    print(measured_table(turns))
    if not options.many:
        return
    few, many = (Shape(1, runners, 1, crowd=True) for runners in (1, options.many))
    crowd = take_turns((few, many), options, 1)
    recipe = RECIPES[_RECIPE]
    learning = Learning(
        batch=recipe.train_batch_size_per_learner,
        epochs=recipe.num_epochs,
        minibatch=recipe.minibatch_size,
        fewest_decisions=options.fewest_decisions,
        most_decisions=options.most_decisions,
    )
    rates = measured_rates(
        turns,
        crowd,
        learner_samples_per_s=options.t4_learner_samples_per_s,
        network_bytes_per_s=options.network_gbit_per_s * 1e9 / 8,
        exchange_s=options.exchange_ms / 1000,
    )
    print("\non paper, not measured, from these rates:\n")
    print("\n".join(f"- {name}: {value:,.6g}" for name, value in vars(rates).items()))
    print(f"\n{model_table(rates, learning)}")


if __name__ == "__main__":
    main()
