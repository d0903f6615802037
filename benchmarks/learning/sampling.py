"""Measure decisions per second of RLlib's sampling, and what an env runner spends time on.

    python -m benchmarks.learning.sampling

One env runner in this process, one torch thread, the published network with random weights. The
contenders take turns, each continues its own episodes, and the table shows medians.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import tyro
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from training.environment.pipeline import Simulator
from training.recipe import RECIPES
from training.rllib.config import build_config
from training.rllib.resources import Resources
from training.rllib.sampling.env_runner import DrivingEnvRunner

Clock = Literal["processor", "wall"]
_CLOCKS: dict[Clock, Callable[[], float]] = {
    "processor": time.thread_time,
    "wall": time.perf_counter,
}
PARTS = ("simulator", "pipeline", "network", "rest")
_LOCAL = Resources(
    num_env_runners=0,
    gpus_per_learner=0,
    max_concurrent_trials=1,
)


@dataclass(frozen=True)
class Options:
    """What is measured, and how."""

    clock: Clock = "processor"
    """Seconds of this thread's processor time, which other programs do not lengthen, or wall."""

    simulators: tuple[Simulator, ...] = ("stock", "fast")
    """Simulators to drive in."""
    envs: int = 8
    """Environments of the env runner."""
    rounds: int = 5
    """Rounds, after one that is not counted."""
    fast_decisions: int = 2000
    """Decisions in a round with the fast simulator."""
    stock_decisions: int = 400
    """Decisions in a round with the stock simulator."""


class Stopwatch:
    """Adds up the time inside of wrapped calls, by part; a part inside itself counts once."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.now = clock
        self.seconds: dict[str, float] = defaultdict(float)
        self._running: set[str] = set()

    def timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, timed."""

        @functools.wraps(call)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if part in self._running:
                return call(*args, **kwargs)
            self._running.add(part)
            start = self.now()
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds[part] += self.now() - start
                self._running.discard(part)

        return wrapped


class Contender:
    """An env runner with a stopwatch in its environments and its network."""

    def __init__(self, simulator: Simulator, *, batched: bool, options: Options) -> None:
        self.name = f"{simulator}, {'ours' if batched else 'RLlib'}"
        self.decisions = getattr(options, f"{simulator}_decisions")
        recipe = dataclasses.replace(
            RECIPES["published"],
            simulator=simulator,
            num_envs_per_env_runner=options.envs,
        )
        config = build_config(recipe, _LOCAL, seed=0, batched=batched).env_runners(
            rollout_fragment_length=max(1, self.decisions // options.envs)
        )
        self._batched = batched
        self.runner: Any = (DrivingEnvRunner if batched else SingleAgentEnvRunner)(config=config)
        self._watch = Stopwatch(_CLOCKS[options.clock])
        self._instrument()

    def _instrument(self) -> None:
        timed = self._watch.timed
        for env in self.runner.env.unwrapped.envs:
            for call in ("step", "reset"):
                setattr(env, call, timed("environments", getattr(env, call)))
            for call in ("step", "reset", "look", "look_grey"):
                if hasattr(env.unwrapped, call):
                    setattr(env.unwrapped, call, timed("simulator", getattr(env.unwrapped, call)))
        module = self.runner.module
        module.forward_exploration = timed("network", module.forward_exploration)

    def sample(self) -> dict[str, float]:
        """Sample a round; milliseconds of a decision by part."""
        self._watch.seconds.clear()
        start = self._watch.now()
        episodes = (
            self.runner.sample()
            if self._batched
            else self.runner.sample(num_timesteps=self.decisions)
        )
        self.runner.get_metrics()
        seconds = self._watch.now() - start
        spent = self._watch.seconds
        parts = {
            "simulator": spent["simulator"],
            "pipeline": spent["environments"] - spent["simulator"],
            "network": spent["network"],
            "rest": seconds - spent["environments"] - spent["network"],
        }
        decisions = sum(len(episode) for episode in episodes)
        return {part: 1000 * value / decisions for part, value in parts.items()}


def measure(options: Options) -> dict[str, list[dict[str, float]]]:
    """Every contender's rounds, by its name."""
    contenders = [
        Contender(simulator, batched=batched, options=options)
        for simulator, batched in itertools.product(options.simulators, (False, True))
    ]
    rounds: dict[str, list[dict[str, float]]] = {c.name: [] for c in contenders}
    for number in range(options.rounds + 1):
        for contender in contenders:
            result = contender.sample()
            if number > 0:
                rounds[contender.name].append(result)
    return rounds


def table(rounds: dict[str, list[dict[str, float]]]) -> str:
    """The medians as Markdown."""
    lines = [
        "| simulator, sampling | decisions/s (lowest–highest) | ratio | "
        + " | ".join(f"{part}, ms" for part in PARTS)
        + " | outside simulator and network |",
        "|---" * (len(PARTS) + 4) + "|",
    ]
    base = 0.0
    for name, results in rounds.items():
        rates = [1000 / sum(result.values()) for result in results]
        rate = statistics.median(rates)
        base = base or rate
        middle = {part: statistics.median(r[part] for r in results) for part in PARTS}
        outside = statistics.median((r["pipeline"] + r["rest"]) / sum(r.values()) for r in results)
        lines.append(
            f"| {name} | {rate:,.0f} ({min(rates):,.0f}–{max(rates):,.0f}) | {rate / base:.2f} | "
            + " | ".join(f"{middle[part]:.3f}" for part in PARTS)
            + f" | {outside:.1%} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print the table."""
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(1)
    print(table(measure(options)))


if __name__ == "__main__":
    main()
