"""Decisions per second of each simulator, alternating, with the same actions."""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.simulator.contenders import Episode
from benchmarks.simulator.drivers import Driver
from benchmarks.simulator.workers import Worker, WorkerError
from benchmarks.support.environments import SIMULATORS, PeersError, peers_python
from training.environment.observation import EPISODE_FRAMES, Pipeline
from training.simulator import FastCarRacing

_FIRST_SEED: Final = 5000


class Row(NamedTuple):
    """A contender: its name here, in the table, and how many episodes it drives in a round."""

    name: str
    title: str
    episodes: int
    peer: bool


ROWS: Final = (
    Row("plain", "stock, plain chain of wrappers", 1, peer=False),
    Row("stock", "stock, drawn only when looked at", 2, peer=False),
    Row("npfl139", "npfl139 CarRacingFS", 4, peer=True),
    Row("envpool", "EnvPool CarRacing-v3", 2, peer=True),
    Row("fast", "FastCarRacing", 8, peer=False),
)


def record(seed: int) -> Episode:
    """The good driver's actions for an episode on one track."""
    env = FastCarRacing(lazy=True)
    env.reset(seed=seed)
    driver, actions = Driver("good", seed), []
    skip = Pipeline().frame_skip
    for _ in range(EPISODE_FRAMES // skip):
        action = driver(env)
        actions.append(action.tolist())
        if any(env.step(action)[2] for _ in range(skip)):
            break
    return seed, actions


def measure(rounds: int) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Rates per round of each contender that can drive here, and why the others cannot."""
    episodes = [record(_FIRST_SEED + k) for k in range(max(row.episodes for row in ROWS))]
    rates: dict[str, list[float]] = {}
    failures: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for row in ROWS:
            try:
                python = peers_python(SIMULATORS) if row.peer else Path(sys.executable)
            except PeersError as error:
                failures[row.name] = str(error)
                continue
            workers[row.name] = stack.enter_context(Worker(python, row.name))
        for turn in range(rounds + 1):
            for row in ROWS:
                if row.name not in workers or row.name in failures:
                    continue
                # The first turn warms up, on few decisions.
                chosen = [episodes[(turn + k) % len(episodes)] for k in range(row.episodes)]
                if turn == 0:
                    chosen = [(seed, actions[:10]) for seed, actions in chosen]
                try:
                    rate = workers[row.name].drive(chosen)
                except WorkerError as error:
                    failures[row.name] = str(error)
                    continue
                if turn:
                    rates.setdefault(row.name, []).append(rate)
    return rates, failures


def report(rounds: int) -> None:
    """Measure, and print the table and the ratios."""
    load = os.getloadavg()[0]
    rates, failures = measure(rounds)
    middle = {name: statistics.median(values) for name, values in rates.items()}
    print(f"\ndecisions per second of one core's time, resets included, median of {rounds} rounds")
    print(f"(load of the machine: {load:.1f} before, {os.getloadavg()[0]:.1f} after)\n")
    print("| simulator | decisions/s (lowest–highest) | × plain | FastCarRacing is |")
    print("|---|---|---|---|")
    for row in ROWS:
        if row.name in failures:
            print(f"| {row.title} | not measured: {failures[row.name]} | | |")
            continue
        values, own = rates[row.name], middle[row.name]
        print(
            f"| {row.title} | {own:,.0f} ({min(values):,.0f}–{max(values):,.0f}) | "
            f"{own / middle['plain']:.1f} | {middle['fast'] / own:.1f} × as fast |"
        )
