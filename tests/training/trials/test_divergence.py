"""A run whose weights overflow after a few good iterations, as a command."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.training.running import TINY, run_train
from training.evaluation.progress import read_progress

OPTIONS = (
    *("--run-name", "d"),
    *TINY,
    *("--max-iters", "6"),
    *("--checkpoint-every", "2"),
    *("--finetune-at", "3"),
    *("--finetune-lr", "1e10"),
)
"""Iterations 1 to 3 train as usual; the first update of iteration 4 ruins the weights."""


@pytest.mark.long
def test_a_run_that_diverges_says_so_and_keeps_what_was_good(
    joining: dict[str, str], tmp_path: Path
) -> None:
    ended = run_train(tmp_path, *OPTIONS, log=tmp_path / "first", environment=joining)
    assert ended.process.returncode == 1
    assert "diverged in iteration 4: total_loss is nan" in ended.output
    folder = tmp_path / "runs" / "d"
    assert [policy.name[:8] for policy in (folder / "policies").iterdir()] == ["d-000002"]
    (trial,) = (path.parent for path in folder.glob("*/progress.csv"))
    assert [path.name[:17] for path in trial.glob("checkpoint_*")] == ["checkpoint_000002"]
    assert [row.iteration for row in read_progress((folder / "progress.csv").read_bytes())] == [
        1,
        2,
        3,
        4,
    ]
    with (trial / "progress.csv").open() as table:
        last = list(csv.DictReader(table))[-1]
    assert "total_loss" in last["diverged"]

    again = run_train(tmp_path, *OPTIONS, log=tmp_path / "second", environment=joining)
    assert again.process.returncode == 1
    assert "diverged in iteration 4" in again.output
    assert [policy.name[:8] for policy in (folder / "policies").iterdir()] == ["d-000002"]
