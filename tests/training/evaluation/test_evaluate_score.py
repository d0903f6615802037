"""The command line for a policy's score."""

from __future__ import annotations

import functools
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.evaluating import evaluate, row
from training.environment.actions import ActionFilter
from training.environment.seeds import SCORE_SEEDS
from training.evaluation.cpus import available_cpus
from training.evaluation.parallel import WorkerDiedError, drive_seeds
from training.evaluation.progress import write_progress
from training.evaluation.rollout import Episode
from training.policy.acting import Policy

pytestmark = pytest.mark.usefixtures("own_folder")


@dataclass
class Drives:
    """Stands where tracks are driven in processes: every track but the first is driven well."""

    seeds: Sequence[int] = ()
    workers: int = 0
    action_filter: ActionFilter | None = None
    ends: BaseException | None = None

    def __call__(
        self,
        _policy: Policy,
        seeds: Sequence[int],
        *,
        workers: int,
        action_filter: ActionFilter,
        on_episode: Callable[[Episode], object],
    ) -> list[Episode]:
        if self.ends is not None:
            raise self.ends
        self.seeds, self.workers, self.action_filter = seeds, workers, action_filter
        episodes = [
            Episode(
                seed=seed,
                score=900.0 if seed > seeds[0] else 100.0,
                frames=800,
                lap_finished=seed > seeds[0],
                tiles=300,
                tiles_missed=int(seed == seeds[0]),
                actions=np.zeros((200, 3), np.float32),
                rewards=np.zeros(200),
            )
            for seed in seeds
        ]
        for episode in episodes:
            on_episode(episode)
        return episodes


@pytest.fixture
def drives(monkeypatch: pytest.MonkeyPatch) -> Drives:
    stand_in = Drives()
    monkeypatch.setattr("training.evaluate.drive_seeds", stand_in)
    return stand_in


def test_a_score_is_of_the_hundred_tracks(
    root: Path, drives: Drives, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate("--checkpoint", root, "--score")
    assert list(drives.seeds) == list(SCORE_SEEDS)
    assert drives.workers == available_cpus()
    printed = capsys.readouterr().out
    assert "driving with run-a-000001" in printed
    assert "score 892.0 ± 80.0 over 100 tracks" in printed
    assert "not comparable" not in printed
    assert not Path("carracing.gif").exists()
    told: dict[str, Any] = json.loads(Path("score.json").read_text())
    assert told["comparable"] is True
    assert told["mean"] == 892
    assert told["settings"]["episodes"] == 100
    assert [episode["seed"] for episode in told["episodes"]] == list(SCORE_SEEDS)


def test_a_score_is_driven_where_the_system_tells_no_affinity(
    root: Path, drives: Drives, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS has no ``os.sched_getaffinity``."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    evaluate("--checkpoint", root, "--score", "--episodes", 2)
    assert drives.workers == 1


def test_progress_is_a_few_lines_where_there_is_no_terminal(
    root: Path, drives: Drives, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate("--checkpoint", root, "--score")
    progress = capsys.readouterr().err
    assert "\r" not in progress
    lines = progress.splitlines()
    assert len(lines) == 10
    assert "100 of 100" in lines[-1]
    evaluate("--checkpoint", root, "--no-film", "--max-steps", 40)
    assert capsys.readouterr().err == ""


def test_progress_is_a_bar_on_a_terminal(
    root: Path, drives: Drives, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    evaluate("--checkpoint", root, "--score")
    assert "\r" in terminal.getvalue()
    assert "\n" not in terminal.getvalue()


def test_a_score_of_other_tracks_says_so(
    root: Path, drives: Drives, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(
        *("--checkpoint", root, "--score", "--seed", 7, "--episodes", 3, "--workers", 2),
        *("--json", "mine.json"),
    )
    assert list(drives.seeds) == [7, 8, 9]
    assert drives.workers == 2
    assert "not comparable" in capsys.readouterr().out
    assert json.loads(Path("mine.json").read_text())["comparable"] is False
    assert not Path("score.json").exists()


def test_a_score_with_another_filter_says_so(
    root: Path, drives: Drives, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate("score", "--checkpoint", root, "--smooth-alpha", 0.5)
    assert drives.action_filter == ActionFilter(smooth_alpha=0.5)
    assert "not comparable" in capsys.readouterr().out
    told = json.loads(Path("score.json").read_text())
    assert told["comparable"] is False
    assert told["filter"]["smooth_alpha"] == 0.5
    evaluate("score", "--checkpoint", root, "--smooth-alpha", 1)
    assert json.loads(Path("score.json").read_text())["comparable"] is True


@pytest.mark.parametrize("form", ["--score", "score"])
def test_the_subcommand_and_the_flat_option_take_the_same_score(
    root: Path, drives: Drives, form: str
) -> None:
    evaluate(form, "--checkpoint", root, "--seed", 5, "--episodes", 4, "--json", "scores.json")
    assert list(drives.seeds) == [5, 6, 7, 8]
    assert len(json.loads(Path("scores.json").read_text())["episodes"]) == 4


def test_a_curve_beside_it_does_not_take_the_score_s_place(
    root: Path, drives: Drives, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARRACING_STORAGE", str(root))
    Path("progress.csv").write_bytes(write_progress([row(1, 5.0)]))
    evaluate("--score", "--progress-csv", "progress.csv")
    assert Path("score.json").exists()
    assert Path("training_curve.png").exists()


def test_a_score_is_really_driven(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whole episodes take too long here.
    monkeypatch.setattr(
        "training.evaluate.drive_seeds", functools.partial(drive_seeds, max_frames=20)
    )
    evaluate("--checkpoint", root, "--score", "--episodes", 2, "--workers", 1)
    told: dict[str, Any] = json.loads(Path("score.json").read_text())
    assert [episode["seed"] for episode in told["episodes"]] == list(SCORE_SEEDS[:2])
    assert [episode["frames"] for episode in told["episodes"]] == [20, 20]
    assert told["policy"].endswith(told["sha256"][:8])


def test_a_score_that_is_not_finished_leaves_no_file(root: Path, drives: Drives) -> None:
    drives.ends = WorkerDiedError("a process has died")
    with pytest.raises(SystemExit, match="a process has died"):
        evaluate("--checkpoint", root, "--score")
    drives.ends = KeyboardInterrupt()
    with pytest.raises(SystemExit) as end:
        evaluate("--checkpoint", root, "--score")
    assert end.value.code == 130
    assert not Path("score.json").exists()
