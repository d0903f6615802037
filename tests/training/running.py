"""The training command, on a Ray of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TINY = [
    "--skip-asha",
    *("--num-env-runners", "1"),
    *("--num-envs-per-env-runner", "1"),
    *("--train-batch-size-per-learner", "256"),
    *("--minibatch-size", "64"),
    *("--num-epochs", "1"),
    *("--num-gpus", "0"),
]
"""Options of a run whose iterations take about a second."""


def run_train(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The command in a process and on a Ray of its own."""
    return subprocess.run(
        [sys.executable, "-m", "training.train", "--results-dir", str(root), *options],
        capture_output=True,
        text=True,
        env=os.environ | {"RAY_ADDRESS": "local"},
        timeout=400,
        check=False,
    )
