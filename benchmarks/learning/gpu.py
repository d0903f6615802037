"""Train both recipes with the learner on a GPU: decisions per second, minutes to a score.

    python -m benchmarks.learning.gpu     one GPU and 16 cores
    python -m benchmarks.learning.gpu --cpus 2 --gpus 0 --envs 8 --swift-iterations 4 --score 0

Trains swift with ``training.train`` and then published for a few iterations on the same machine,
and finds swift's first policy with the score.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import tyro

from benchmarks.learning.minutes import Options as MinutesOptions
from benchmarks.learning.minutes import report
from training.evaluation.progress import read_progress


@dataclass(frozen=True)
class Options:
    """Train both recipes on this machine."""

    cpus: int = 16
    """Cores; each but one samples, where there are more than 4."""
    gpus: float = 1.0
    """GPUs to wait for."""
    envs: int = 4
    """Environments of each env runner of swift."""
    swift_iterations: int = 400
    """Iterations of swift; the second phase begins at 70 % of them."""
    published_iterations: int = 10
    """Iterations of published."""
    score: float = 900.0
    """Mean score to look for; 0 looks for none."""
    results: Path = Path("results-gpu")
    """Storage root of the runs."""

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        for name, least in (
            ("cpus", 1),
            ("envs", 1),
            ("swift_iterations", 2),
            ("published_iterations", 2),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} is {getattr(self, name)}; it must be {least} or more")

    @property
    def runners(self) -> int:
        """Env runners."""
        return self.cpus - 1 if self.cpus > 4 else self.cpus


def train(options: Options, recipe: str, iterations: int, *extra: str) -> None:
    """One trial of a recipe, through the project's own command, and its decisions per second."""
    subprocess.run(  # noqa: S603
        [
            *(sys.executable, "-m", "training.train", "--recipe", recipe, "--skip-asha"),
            *("--run-name", recipe, "--restart", "--results-dir", str(options.results)),
            *("--num-gpus", f"{options.gpus:g}", "--num-env-runners", str(options.runners)),
            *("--max-iters", str(iterations), "--finetune-at", str(iterations * 7 // 10)),
            *extra,
        ],
        check=True,
    )
    table = read_progress((options.results / "runs" / recipe / "progress.csv").read_bytes())
    rates = [
        (later.env_steps - earlier.env_steps) / (later.seconds - earlier.seconds)
        for earlier, later in pairwise(table)
    ]
    print(
        f"\n{recipe}: {median(rates):,.0f} decisions/s, median of {len(rates)} iterations "
        f"({min(rates):,.0f}–{max(rates):,.0f})\n",
        flush=True,
    )


def main() -> None:
    """Run the command line."""
    options = tyro.cli(Options, description=__doc__)
    train(
        options,
        "swift",
        options.swift_iterations,
        *("--num-envs-per-env-runner", str(options.envs)),
    )
    train(options, "published", options.published_iterations)
    if options.score:
        report(MinutesOptions(root=str(options.results), run="swift", score=options.score))


if __name__ == "__main__":
    main()
