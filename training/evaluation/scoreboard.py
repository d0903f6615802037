"""What the scores of many tracks come to: for people, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Any, Final

import numpy as np

from training.environment.actions import ActionFilter
from training.environment.observation import EPISODE_FRAMES
from training.environment.seeds import SCORE_SEEDS
from training.evaluation.provenance import provenance
from training.evaluation.rollout import Episode
from training.policy.acting import Policy

LOW_SCORE: Final = 800.0
"""A track that scores less was not mastered."""

_RESAMPLES: Final = 10_000
_INTERVAL: Final = f"percentile bootstrap of the tracks, {_RESAMPLES:,} resamples"


@dataclass(frozen=True)
class Scoreboard:
    """The episodes of a score, two at least, and what they come to."""

    episodes: Sequence[Episode]
    other_filter: ActionFilter | None = None
    """The action filter that they were driven with, if it is not the policy's own."""

    @property
    def scores(self) -> list[float]:
        """Every episode's score."""
        return [episode.score for episode in self.episodes]

    @property
    def mean(self) -> float:
        """Of the scores."""
        return fmean(self.scores)

    @property
    def std(self) -> float:
        """Standard deviation of a track's score, as the sample estimates it (n - 1)."""
        return stdev(self.scores)

    @property
    def median(self) -> float:
        """Of the scores."""
        return median(self.scores)

    @property
    def worst(self) -> Episode:
        """The episode with the lowest score."""
        return min(self.episodes, key=lambda episode: episode.score)

    @property
    def laps_finished(self) -> float:
        """Share of the tracks whose lap was finished."""
        return fmean(episode.lap_finished for episode in self.episodes)

    @property
    def low(self) -> float:
        """Share of the tracks that score below ``LOW_SCORE``."""
        return fmean(score < LOW_SCORE for score in self.scores)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean over all tracks: 2.5th and 97.5th percentile of its bootstrap.

        A few bad tracks make scores lopsided, and so it may be.
        """
        scores = np.asarray(self.scores)
        picks = np.random.default_rng(0).integers(0, len(scores), (_RESAMPLES, len(scores)))
        low, high = np.percentile(scores[picks].mean(axis=1), (2.5, 97.5))
        return float(low), float(high)

    @property
    def comparable(self) -> bool:
        """Whether these are all of the scoreboard's tracks, driven with the policy's own filter."""
        seeds = [episode.seed for episode in self.episodes]
        return self.other_filter is None and seeds == list(SCORE_SEEDS)

    def lines(self) -> list[str]:
        """For people."""
        low, high = self.interval
        worst = self.worst
        lines = [
            f"score {self.mean:.1f} ± {self.std:.1f} over {len(self.episodes)} tracks "
            f"(mean ± standard deviation)",
            f"95 % interval of the mean: {low:.1f} to {high:.1f} ({_INTERVAL})",
            f"median {self.median:.1f}, minimum {worst.score:.1f} (seed {worst.seed})",
            f"laps finished: {self.laps_finished:.0%} of tracks; "
            f"below {LOW_SCORE:g}: {self.low:.0%}",
        ]
        if not self.comparable:
            lines.append(
                "not comparable: scores are taken with the policy's own filter, on seeds "
                f"{SCORE_SEEDS[0]} to {SCORE_SEEDS[-1]}"
            )
        return lines

    def report(self, policy: Policy, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Everything about the score, ready for JSON.

        Args:
            policy: The policy that drove.
            settings: The options of the command.
        """
        return {
            "policy": policy.version,
            "sha256": policy.digest,
            "environment": "CarRacing-v3",
            "simulator": "stock",
            "max_frames": EPISODE_FRAMES,
            "actions": "greedy",
            "filter": (self.other_filter or policy.description.action_filter).to_dict(),
            "comparable": self.comparable,
            "mean": self.mean,
            "std": self.std,
            "median": self.median,
            "minimum": self.worst.score,
            "laps_finished": self.laps_finished,
            f"below_{LOW_SCORE:g}": self.low,
            "interval_95": self.interval,
            "interval_formula": _INTERVAL,
            "settings": dict(settings),
            **provenance(),
            "episodes": [describe(episode) for episode in self.episodes],
        }


def describe(episode: Episode) -> dict[str, Any]:
    """An episode's outcome, ready for JSON."""
    return {
        "seed": episode.seed,
        "score": episode.score,
        "frames": episode.frames,
        "lap_finished": episode.lap_finished,
        "tiles": episode.tiles,
        "tiles_missed": episode.tiles_missed,
    }
