"""Measure the seconds of a training iteration by parts, before and after, in one run.

    python -m benchmarks.learning.training --recipe swift
    python -m benchmarks.learning.training --recipe published --contenders plain ours

The contenders (see ``benchmarks.learning.iteration``) take turns, each time in a process of its
own, with the same recipe, seed and env runners.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import tyro

from benchmarks.learning.iteration import PARTS, Options, measure


def table(measured: Mapping[str, list[dict[str, float]]]) -> str:
    """The medians as Markdown."""
    lines = [
        "| contender | s/iteration (lowest–highest) | decisions/s | ratio | "
        + " | ".join(PARTS)
        + " |",
        "|---" * (len(PARTS) + 4) + "|",
    ]
    base = 0.0
    for name, rows in measured.items():
        walls = [row["wall"] for row in rows]
        wall = statistics.median(walls)
        base = base or wall
        rate = sum(row["decisions"] for row in rows) / sum(walls)
        shares = [sum(row[part] for row in rows) / sum(walls) for part in PARTS]
        lines.append(
            f"| {name} | {wall:.2f} ({min(walls):.2f}–{max(walls):.2f}) | {rate:,.0f} | "
            f"{base / wall:.2f} | " + " | ".join(f"{share:.0%}" for share in shares) + " |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print the table."""
    options = tyro.cli(Options, description=__doc__)
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in options.contenders}
    for _ in range(options.rounds):
        for contender in options.contenders:
            # The allocator's settings cannot be taken back within a process.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                measured[contender] += pool.submit(measure, contender, options).result()
    print(f"\nrecipe {options.recipe}, {options.num_env_runners} env runners, {options.cpus} cores")
    print("simulation and forward: mean over the env runners; shares of wall time\n")
    print(table(measured))


if __name__ == "__main__":
    main()
