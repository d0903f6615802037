"""The command line for scores, films and curves, as tests call it."""

from __future__ import annotations

from training.evaluate import main
from training.evaluation.progress import ProgressRow


def evaluate(*options: object) -> None:
    """Run the command in this process."""
    main([str(option) for option in options])


def row(iteration: int, mean: float, phase: str = "explore") -> ProgressRow:
    """A row of a run's table."""
    return ProgressRow(
        trial="t-0",
        iteration=iteration,
        phase=phase,
        env_steps=iteration * 1000,
        return_min=mean - 10,
        return_mean=mean,
        return_max=mean + 10,
        lr=2e-4,
        entropy_coeff=0.037,
        clip_param=0.2,
        seconds=1.0,
    )
