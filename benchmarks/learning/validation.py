"""Measure how much validation slows a training run.

    python -m benchmarks.learning.validation

Short real runs with and without validation take turns, each on its own Ray. Reports the time of an
iteration in pairs, and the CPU time of the validating process as a share of all others'. The share
is an upper bound of the slowdown: it would be reached if all cores were busy and the process had no
lower priority. Only the first figure needs an idle machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import tyro

from benchmarks.support.processes import Usage, usage
from training.evaluation.progress import read_progress
from training.store.layout import progress_file

_LOOK_S = 0.5
_EXAMINER = "Examiner"


@dataclass(frozen=True)
class Options:
    """Measure what validation takes."""

    rounds: int = 3
    """Pairs of runs."""
    recipe: str = "swift"
    iterations: int = 60
    """Of each run."""
    checkpoint_every: int = 20
    """Iterations between policies."""
    tracks: int = 8
    """Tracks that each policy is driven on."""


@dataclass(frozen=True)
class Measured:
    """One run."""

    s_per_iteration: float
    """After the first policy was published."""
    examiner_s: float
    """Processor time of the process that drives, up to the end of training."""
    trained_s: float
    """Processor time of all others, as long as they trained."""


def main(options: Options) -> None:
    """Run pairs, and print a table."""
    print("| validation | s/iteration | processor time of the examiner, s | of training, s |")
    print("|---|---|---|---|", flush=True)
    ratios, shares = [], []
    for number in range(options.rounds):
        pair = {}
        # The order changes, should the machine get slower or faster.
        for tracks in (0, options.tracks)[:: 1 if number % 2 else -1]:
            pair[tracks] = measured = _run(options, tracks)
            print(
                f"| {f'{tracks} tracks' if tracks else 'none'} | {measured.s_per_iteration:.2f} | "
                f"{measured.examiner_s:.1f} | {measured.trained_s:.1f} |",
                flush=True,
            )
        on, off = pair[options.tracks], pair[0]
        ratios.append(on.s_per_iteration / off.s_per_iteration)
        shares.append(on.examiner_s / on.trained_s)
    print(f"an iteration takes {median(ratios) - 1:+.1%} (median of {options.rounds} pairs)")
    print(f"the examiner's processor time is {median(shares):.1%} of training's (median)")


def _run(options: Options, tracks: int) -> Measured:
    with tempfile.TemporaryDirectory() as root:
        command = [
            *(sys.executable, "-m", "training.train", "--recipe", options.recipe),
            *("--skip-asha", "--run-name", "a", "--results-dir", root),
            *("--max-iters", str(options.iterations), "--finetune-at", str(options.iterations)),
            *("--checkpoint-every", str(options.checkpoint_every)),
            *("--validation-tracks", str(tracks)),
        ]
        with subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, text=True, env=os.environ | {"RAY_ADDRESS": "local"}
        ) as process:
            trained = threading.Event()
            seen: dict[int, Usage] = {}
            watching = threading.Thread(target=_watch, args=(process.pid, trained, seen))
            watching.start()
            for line in process.stdout or ():
                # The last iteration's line; then the result is chosen, on all cores.
                if f"{options.iterations}/{options.iterations}" in line:
                    trained.set()
            trained.set()
            watching.join()
        if process.returncode:
            raise SystemExit(f"training has failed with status {process.returncode}")
        rows = read_progress(Path(root, progress_file("a")).read_bytes())
        first, last = rows[options.checkpoint_every - 1], rows[-1]
        examiner = [found.seconds for found in seen.values() if _EXAMINER in found.name]
        return Measured(
            (last.seconds - first.seconds) / (last.iteration - first.iteration),
            sum(examiner),
            sum(found.seconds for found in seen.values()) - sum(examiner),
        )


def _watch(pid: int, trained: threading.Event, seen: dict[int, Usage]) -> None:
    """Note every process of a run until it has trained."""
    while not trained.wait(_LOOK_S):
        seen.update(usage(pid))


if __name__ == "__main__":
    main(tyro.cli(Options))
