"""Compare the fast simulator with others: speed, pictures, scores, memory.

python -m benchmarks.simulator              decisions per second
python -m benchmarks.simulator --pixels     differences of pictures to Gymnasium's
python -m benchmarks.simulator --scores     differences of a driver's scores to Gymnasium's
python -m benchmarks.simulator --memory     memory of an environment, and over many resets
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import cv2
import tyro

from benchmarks.simulator import memory, pixels, scores, speed


@dataclass(frozen=True)
class Options:
    """Measure the fast simulator. Without a choice: its speed."""

    pixels: bool = False
    """Compare pictures with stock's."""
    scores: bool = False
    """Compare scores with stock's."""
    memory: bool = False
    """Measure memory."""
    rounds: int = 5
    """Rounds of the speed measurement."""
    decisions: int = 20_000
    """Decisions whose pictures are compared."""
    tracks: int = 100
    """Tracks whose scores are compared."""
    policy: str | None = None
    """A policy to drive them, as training.evaluate takes it; else a scripted driver."""
    resets: int = 10_000
    """Resets over which memory is watched."""

    def __post_init__(self) -> None:
        """Refuse numbers that nothing can be measured with."""
        for name, least in (("rounds", 1), ("decisions", 1), ("tracks", 2), ("resets", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} is {getattr(self, name)}; it must be {least} or more")


def main(arguments: list[str]) -> None:
    """Run the command line."""
    options = tyro.cli(Options, args=arguments, prog="python -m benchmarks.simulator")
    cv2.setNumThreads(1)
    if options.pixels:
        pixels.report(options.decisions)
    if options.scores:
        scores.report(options.tracks, options.policy)
    if options.memory:
        memory.report(options.resets)
    if not (options.pixels or options.scores or options.memory):
        speed.report(options.rounds)


if __name__ == "__main__":
    main(sys.argv[1:])
