"""Compare the seconds per training iteration of another commit and of the working tree.

    python -m benchmarks.learning.against --commit 8522f31 --recipe swift
    python -m benchmarks.learning.against --commit 8522f31 --iterations 2 -- --precision bf16

The two take turns with ``python -m training.train``, each time in a run of its own with the same
seed. The other commit is checked out into a temporary folder and uses this environment's packages.
Seconds are those in the run's ``progress.csv``. Options after ``--`` apply to the working tree
only.
"""

from __future__ import annotations

import csv
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import tyro

ROOT: Final = Path(__file__).resolve().parents[2]
WARM_UP: Final = 2
"""Iterations that are not counted: processes grow, and caches fill."""


@dataclass(frozen=True)
class Options:
    """What is measured, and how often."""

    commit: str
    """The other commit."""
    recipe: str = "swift"
    """Recipe to train with."""
    rounds: int = 3
    """Runs of each."""
    iterations: int = 8
    """Iterations of a run that count, after two that do not."""
    seed: int = 0
    """Seed of the runs."""
    arguments: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Further arguments of the working tree's runs."""

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        for name in ("rounds", "iterations"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} is {getattr(self, name)}; it must be at least 1")


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A folder with the files of a commit of this repository."""
    with tempfile.TemporaryDirectory(prefix="against-") as folder:
        archive = subprocess.run(  # noqa: S603
            ["git", "archive", commit],  # noqa: S607
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)  # noqa: S603, S607
        yield Path(folder)


def train(tree: Path, options: Options, arguments: Sequence[str]) -> list[float]:
    """Run a training in a tree; seconds of each iteration that counts."""
    total = WARM_UP + options.iterations
    with tempfile.TemporaryDirectory(prefix="against-results-") as results:
        command = [
            *(sys.executable, "-m", "training.train", "--recipe", options.recipe, "--skip-asha"),
            *("--max-iters", str(total), "--finetune-at", str(total)),
            # No checkpoint but the last: this is about sampling and learning.
            *("--checkpoint-every", str(total), "--seed", str(options.seed)),
            *("--run-name", "run", "--results-dir", results, *arguments),
        ]
        done = subprocess.run(  # noqa: S603
            command,
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} in {tree} failed:\n{done.stdout[-3000:]}")
        with Path(results, "runs", "run", "progress.csv").open() as table:
            rows = list(csv.DictReader(table))
    trained_s = [float(row["seconds"]) for row in rows]
    return [after - before for before, after in itertools.pairwise(trained_s)][WARM_UP - 1 :]


def report(names: Sequence[str], measured: Sequence[Sequence[Sequence[float]]]) -> str:
    """The table as Markdown; ``measured`` holds seconds by tree, run and iteration."""
    lines = [
        "| tree | s/iteration, median of runs (lowest–highest run) | ratio |",
        "|---|---|---|",
    ]
    base = 0.0
    for name, runs in zip(names, measured, strict=True):
        means = [statistics.fmean(run) for run in runs]
        middle = statistics.median(means)
        base = base or middle
        lines.append(
            f"| {name} | {middle:.2f} ({min(means):.2f}–{max(means):.2f}) | {base / middle:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print the table."""
    options = tyro.cli(Options, description=__doc__)
    measured: tuple[list[list[float]], list[list[float]]] = ([], [])
    with checked_out(options.commit) as other:
        for _ in range(options.rounds):
            measured[0].append(train(other, options, ()))
            measured[1].append(train(ROOT, options, options.arguments))
            print(f"{measured[0][-1]}\n{measured[1][-1]}", file=sys.stderr, flush=True)
    print(f"recipe {options.recipe}, {options.iterations} iterations a run, {options.rounds} runs")
    label = " ".join(["the working tree", *options.arguments])
    print(report([options.commit, label], measured))


if __name__ == "__main__":
    main()
