"""From turns of ``benchmarks.scale`` to medians, and to the rates that the model takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, pstdev
from typing import Final

from benchmarks.iteration import Iteration
from benchmarks.scale_turn import Shape, Turn
from benchmarks.scaling_model import Rates

_LEAST: Final = 1e-9
"""Instead of a difference that noise has made negative."""


@dataclass(frozen=True)
class Parts:
    """Medians over the iterations of a shape, in seconds, and means over its turns, in bytes."""

    decisions_per_s: float
    """Of all iterations together."""
    wall: float
    lowest: float
    highest: float
    sampling: float
    """Of the slowest env runner."""
    waiting: float
    """Of the main process, for all answers: sampling, and what carries them."""
    update: float
    learning: float
    """The arithmetic of the update."""
    weights: float
    """Of the main process, until the weights are sent."""
    rest: float
    samples_bytes: float
    weights_bytes: float
    stored_bytes: float


def iteration_parts(turns: Sequence[Turn]) -> Parts:
    """A shape's parts.

    Args:
        turns: One or more.
    """
    taken = _iterations(turns)
    walls = [each.wall for each in taken]

    def middle(part: Callable[[Iteration], float]) -> float:
        return median(part(each) for each in taken)

    return Parts(
        decisions_per_s=sum(each.decisions for each in taken) / sum(walls),
        wall=median(walls),
        lowest=min(walls),
        highest=max(walls),
        sampling=middle(_slowest),
        waiting=middle(lambda each: each.main["waiting"]),
        update=middle(lambda each: each.main["update"]),
        learning=middle(lambda each: each.main["learning"]),
        weights=middle(lambda each: each.main["weights"]),
        rest=middle(lambda each: each.wall - each.main["waiting"] - each.main["update"]),
        samples_bytes=fmean(turn.samples_bytes for turn in turns),
        weights_bytes=fmean(turn.weights_bytes for turn in turns),
        stored_bytes=fmean(turn.stored_bytes for turn in turns),
    )


def measured_rates(
    turns: Mapping[Shape, Sequence[Turn]],
    crowd: Mapping[Shape, Sequence[Turn]],
    *,
    learner_samples_per_s: float,
    network_bytes_per_s: float,
    exchange_s: float,
) -> Rates:
    """The model's rates.

    Sampling is taken with all env runners busy, carrying from the shape with most nodes. What it
    takes beside its bytes counts as theirs, so a small batch shows too low a rate.

    Args:
        turns: Of shapes with several environments, and one with a single one.
        crowd: Of one env runner and of many, with hardly any work.
        learner_samples_per_s: Assumed, as the two below.
        network_bytes_per_s: Between two nodes.
        exchange_s: Of averaging gradients.
    """
    one = next(shape for shape in turns if shape.envs == 1)
    busy = next(
        shape
        for shape in turns
        if shape.envs > 1 and (shape.nodes, shape.runners) == (one.nodes, one.runners)
    )
    carrying = max(turns, key=lambda shape: (shape.nodes, shape.runners, shape.envs))
    several, single = (_core_seconds(turns[shape]) for shape in (busy, one))
    # A decision takes decision_s + step_s / environments.
    step_s = max(_LEAST, (single - several) / (1 - 1 / busy.envs))
    taken = _iterations(turns[busy])
    parts, carried = iteration_parts(turns[busy]), iteration_parts(turns[carrying])
    decisions = median(each.decisions for each in taken)
    few, many = sorted(crowd, key=lambda shape: shape.runners)
    handling = [
        median(each.handling for each in _iterations(crowd[shape])) for shape in (few, many)
    ]
    return Rates(
        decision_s=max(_LEAST, single - step_s),
        step_s=step_s,
        spread=fmean(_spread(each) for each in taken),
        handling_s=max(0.0, handling[1] - handling[0]) / (many.runners - few.runners),
        decision_bytes=parts.samples_bytes / decisions,
        store_bytes_per_s=carried.samples_bytes / max(_LEAST, carried.waiting - carried.sampling),
        assembly_s=max(0.0, parts.update - parts.learning) / decisions,
        weights_bytes=parts.weights_bytes,
        weights_s=parts.weights,
        learner_samples_per_s=learner_samples_per_s,
        network_bytes_per_s=network_bytes_per_s,
        exchange_s=exchange_s,
    )


def _iterations(turns: Sequence[Turn]) -> list[Iteration]:
    return [each for turn in turns for each in turn.iterations]


def _slowest(iteration: Iteration) -> float:
    return max(runner["sampling"] for runner in iteration.runners)


def _core_seconds(turns: Sequence[Turn]) -> float:
    """Of an env-runner core for a decision."""
    return median(
        each.runners_mean("sampling") * len(each.runners) / each.decisions
        for each in _iterations(turns)
    )


def _spread(iteration: Iteration) -> float:
    seconds = [runner["sampling"] for runner in iteration.runners]
    return pstdev(seconds) / fmean(seconds)
