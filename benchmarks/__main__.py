"""List the benchmarks: ``python -m benchmarks``."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple


class Benchmark(NamedTuple):
    """A command that measures something."""

    duration: str
    """About how long it takes on two cores."""
    quick: str = ""
    """Options for a quick look, which gives no figures to publish."""


BENCHMARKS: dict[str, Benchmark] = {
    "simulator": Benchmark("5 min", "--rounds 1"),
    "simulator.stable_baselines": Benchmark("2 min", "--rounds 1"),
    "learning.against": Benchmark("10 min", "--iterations 1 --rounds 1"),
    "learning.gpu": Benchmark("20 min on a GPU and 16 cores"),
    "learning.minutes": Benchmark("2 min for each policy"),
    "learning.rllib_reference": Benchmark("10 min for each learner and 30 iterations"),
    "learning.sampling": Benchmark("3 min"),
    "learning.scale": Benchmark("12 min", "--rounds 1 --iterations 1 --batch 512"),
    "learning.training": Benchmark("5 min", "--rounds 1 --iterations 1"),
    "learning.validation": Benchmark("35 min", "--rounds 1 --iterations 20 --checkpoint-every 5"),
    "preemption": Benchmark("20 min", "--kills 3"),
    "preemption.storage_outage": Benchmark("17 min", "--minutes 0.5 --manner refused"),
    "service.act": Benchmark("8 min", "--rounds 1 --seconds 1 --contenders ours fastapi"),
    "service.cold_start": Benchmark("2 min", "--rounds 1"),
    "service.drives": Benchmark("2 min", "--rounds 1 --seconds 1"),
    "service.film": Benchmark("2 min", "--rounds 1 --frames 80"),
    "service.overload": Benchmark("2 min", "--clients 192 --seconds 3"),
    "faults": Benchmark("6 min", "--settle-s 3 --faults replica renderer"),
    "faults.neighbours": Benchmark("15 min", "--rounds 2"),
    "faults.reload": Benchmark("2 min", "--requests 2000 --policies 5"),
    "faults.soak": Benchmark("15 min", "--minutes 1 --sample-s 2"),
    "faults.storage_away": Benchmark("21 min", "--minutes 0.2"),
    "attacks": Benchmark("3 min", "--requests 1000"),
}


def summary(name: str) -> str:
    """The first line of a benchmark's docstring; the module is not imported."""
    path = Path(__file__).parent.joinpath(*name.split("."))
    source = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    return (ast.get_docstring(ast.parse(source.read_text())) or "").partition("\n")[0]


def main() -> None:
    """Print each benchmark's command, what it measures, and how long it takes."""
    for name, (duration, quick) in BENCHMARKS.items():
        print(f"python -m benchmarks.{name}    {duration}")
        print(f"    {summary(name)}")
        if quick:
            print(f"    a quick look: {quick}")


if __name__ == "__main__":
    main()
