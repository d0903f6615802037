"""Find when a run's published policies first reached a score.

    python -m benchmarks.learning.minutes --root results --run NAME

Policies are tried from the oldest on, each on a few tracks of the fast simulator first. If it may
have reached the score, it is scored as ``training.evaluate score`` does it. Minutes count from when
the run wrote its settings, some seconds after its start, until the policy was published.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean
from typing import Final

import torch
import tyro

from training.environment.seeds import SCORE_SEEDS
from training.evaluation.cpus import available_cpus
from training.evaluation.parallel import drive_seeds
from training.evaluation.progress_bar import progress_bar
from training.evaluation.rollout import drive
from training.evaluation.scoreboard import Scoreboard
from training.policy.acting import Policy
from training.runs.run import SETTINGS_FILE
from training.store.layout import run_folder
from training.store.policies import PolicyStore

_TRIAL_TRACKS: Final = range(2_000_000, 2_000_020)
_MARGIN: Final = 15.0
"""A mean over the trial's tracks this far below what is asked for may still be the same driver."""


@dataclass(frozen=True)
class Options:
    """Find the first policy of a run that is good enough."""

    root: str
    """Storage root."""
    run: str
    """The run."""
    score: float = 900.0
    """Mean score to reach."""
    workers: int = field(default_factory=available_cpus)
    """Processes that drive."""


def report(options: Options) -> None:
    """Print a line per policy, until one has the score."""
    store = PolicyStore.open(options.root)
    settings = store.storage.at(f"{run_folder(options.run)}/{SETTINGS_FILE}")
    started = store.storage.filesystem.get_file_info(settings).mtime
    if started is None:
        raise SystemExit(f"there is no run {options.run!r} in {options.root}")
    print("| policy | minutes | decisions | trial | score |")
    print("|---|---|---|---|---|")
    refs = [ref for ref in store.refs() if ref.run == options.run]
    for policy in sorted(
        (Policy.from_published(store.fetch(ref)) for ref in refs),
        key=lambda policy: policy.manifest.iteration,
    ):
        manifest = policy.manifest
        if manifest.created_at < started:
            continue  # of an earlier run of that name
        minutes = (manifest.created_at - started).total_seconds() / 60
        trial = fmean(drive(policy, seed, simulator="fast").score for seed in _TRIAL_TRACKS)
        line = f"| {policy.version} | {minutes:.1f} | {manifest.env_steps:,} | {trial:.1f} |"
        if trial < options.score - _MARGIN:
            print(f"{line} |", flush=True)
            continue
        with progress_bar(len(SCORE_SEEDS), "track") as advance:
            board = Scoreboard(
                drive_seeds(
                    policy,
                    list(SCORE_SEEDS),
                    workers=options.workers,
                    on_episode=lambda _: advance(),
                )
            )
        print(f"{line} {board.mean:.1f} ± {board.std:.1f} |", flush=True)
        if board.mean >= options.score:
            return
    print(f"\nno policy of this run reached {options.score:g}")


def main() -> None:
    """Run the command line."""
    torch.set_num_threads(1)
    report(tyro.cli(Options, prog="python -m benchmarks.learning.minutes"))


if __name__ == "__main__":
    main()
