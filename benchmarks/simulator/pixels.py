"""Differences between the fast simulator's pictures and Gymnasium's."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulator.drivers import KINDS, Driver
from training.environment.observation import EPISODE_FRAMES, SIMULATOR_FPS, Pipeline
from training.environment.pipeline import UndrawnCarRacing
from training.simulator import FastCarRacing

_LEVELS: Final = 256


def _drive(
    kind: str, seed: int, stock: UndrawnCarRacing, fast: FastCarRacing
) -> list[NDArray[np.int64]]:
    """The histogram of differences, int64[256], of every decision's picture in one episode."""
    pipeline = Pipeline()
    stock.reset(seed=seed)
    fast.reset(seed=seed)
    driver = Driver(kind, seed)
    found = []
    for _ in range(EPISODE_FRAMES // pipeline.frame_skip):
        pictures = (env.look_grey(pipeline.size).astype(np.int16) for env in (stock, fast))
        difference = np.abs(np.subtract(*pictures)).ravel()
        found.append(np.bincount(difference, minlength=_LEVELS))
        action = driver(stock)
        for _ in range(pipeline.frame_skip):
            over = stock.step(action)[2]
            fast.step(action)
            if over:
                return found
    return found


def _row(name: str, decisions: int, histogram: NDArray[np.int64]) -> str:
    share = np.cumsum(histogram) / histogram.sum()
    mean = (histogram * np.arange(_LEVELS)).sum() / histogram.sum()
    low, high = (int(np.searchsorted(share, part)) for part in (0.99, 0.999))
    largest = int(np.flatnonzero(histogram)[-1])
    equal = histogram[0] / histogram.sum()
    return f"| {name} | {decisions:,} | {mean:.3f} | {low} | {high} | {largest} | {equal:.1%} |"


def report(decisions: int) -> None:
    """Drive until there are so many decisions, and print the table."""
    stock, fast = UndrawnCarRacing(), FastCarRacing(lazy=True)
    names = (*KINDS, "first second", "all")
    histograms = {name: np.zeros(_LEVELS, np.int64) for name in names}
    counts = dict.fromkeys(names, 0)
    early = SIMULATOR_FPS // Pipeline().frame_skip + 1
    tracks = 0
    while counts["all"] < decisions:
        kind = KINDS[tracks % len(KINDS)]
        found = _drive(kind, 1000 + tracks, stock, fast)
        for name, part in ((kind, found), ("first second", found[:early]), ("all", found)):
            histograms[name] += np.sum(part, axis=0)
            counts[name] += len(part)
        tracks += 1
    print(f"\nlevels of 255 between stock's and the fast simulator's pictures, {tracks} tracks\n")
    print("| driver | decisions | mean | 99 % | 99.9 % | largest | equal |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        print(_row(name, counts[name], histograms[name]))
