"""The command line for scores, films and curves: no Ray, whole or in halves."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

from tests.conftest import PublishPolicy, build_policy
from training.environment import Simulator
from training.evaluate import choose_filter, drive_episodes, main
from training.evaluate_options import EvaluateOptions
from training.parallel_rollout import WorkerDiedError, drive_seeds
from training.policy import Policy
from training.progress import ProgressRow, write_progress
from training.rollout import Episode, drive
from training.seeds import SCORE_SEEDS
from training.store import PolicyStore


@pytest.fixture
def root(store: PolicyStore, publish_policy: PublishPolicy) -> Path:
    """A storage root with one policy."""
    publish_policy(store)
    return Path(store.storage.path)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files with default names go to a folder of the test's own."""
    monkeypatch.chdir(tmp_path)


def row(iteration: int, mean: float, phase: str = "explore") -> ProgressRow:
    return ProgressRow(
        trial="t-0",
        iteration=iteration,
        phase=phase,
        env_steps=iteration * 1000,
        return_min=mean - 10,
        return_mean=mean,
        return_max=mean + 10,
        lr=2e-4,
        entropy_coeff=0.037,
        clip_param=0.2,
        seconds=1.0,
    )


def evaluate(*options: object) -> None:
    main([str(option) for option in options])


def test_scores_and_a_film_of_the_newest_policy(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate("--checkpoint", root, "--episodes", 2, "--max-steps", 40, "--json", "scores.json")
    printed = capsys.readouterr().out
    assert "seed 0: score" in printed
    assert "seed 1: score" in printed
    assert "±" in printed
    assert len(iio.imread("carracing.gif", index=None)) > 20
    scores: dict[str, Any] = json.loads(Path("scores.json").read_text())
    assert [episode["seed"] for episode in scores["episodes"]] == [0, 1]
    assert all(episode["frames"] == 40 for episode in scores["episodes"])
    assert all(episode["tiles"] > episode["tiles_missed"] > 0 for episode in scores["episodes"])
    assert scores["filter"] == {"smooth_alpha": 1.0, "steer_deadzone": 0.0, "steer_clip": 1.0}


@pytest.mark.parametrize("film", [False, True])
def test_scores_are_taken_on_stock(film: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    simulators: list[Simulator] = []

    def noted(*args: Any, simulator: Simulator, **options: Any) -> Episode:
        simulators.append(simulator)
        return drive(*args, simulator=simulator, **options)

    monkeypatch.setattr("training.evaluate.drive", noted)
    options = EvaluateOptions(episodes=2, max_steps=8, film=film, width=60)
    policy = build_policy()
    episodes = drive_episodes(policy, choose_filter(policy, options), options)
    assert [episode.frames for episode in episodes] == [8, 8]
    assert simulators == ["stock"] * 2
    assert options.output.exists() == film


def test_the_filter_is_the_policy_s_unless_options_say_otherwise(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate("--checkpoint", root, "--no-film", "--max-steps", 4, "--smooth-alpha", 0.5)
    assert "smooth_alpha 0.5, steer_deadzone 0, steer_clip 1" in capsys.readouterr().out
    assert not Path("carracing.gif").exists()


def test_a_single_policy_folder_is_taken_too(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder,) = (root / "runs/run-a/policies").iterdir()
    evaluate("--checkpoint", folder, "--no-film", "--max-steps", 4)
    assert f"driving with {folder.name}" in capsys.readouterr().out


def test_a_policy_in_a_bucket_is_taken_too(
    any_store: PolicyStore, publish_policy: PublishPolicy, capsys: pytest.CaptureFixture[str]
) -> None:
    ref = publish_policy(any_store)
    folder = f"{any_store.storage.root}/{ref.folder}"
    evaluate("--checkpoint", folder, "--no-film", "--max-steps", 4)
    evaluate("--checkpoint", any_store.storage.root, "--no-film", "--max-steps", 4)
    assert capsys.readouterr().out.count(f"driving with {ref.version}") == 2


def test_the_storage_root_is_the_default(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CARRACING_STORAGE", str(root))
    evaluate("--no-film", "--max-steps", 4)
    assert "driving with run-a-000001" in capsys.readouterr().out


@pytest.mark.parametrize(
    "means", [[5.0], [float("nan")], [float("nan"), float("nan"), 3.0, 8.0]], ids=str
)
def test_a_curve_alone_even_when_training_has_just_begun(means: list[float]) -> None:
    rows = [row(number, mean) for number, mean in enumerate(means, start=1)]
    Path("progress.csv").write_bytes(write_progress(rows))
    evaluate("--progress-csv", "progress.csv")
    assert iio.imread("training_curve.png").shape[1] > 400
    assert not Path("carracing.gif").exists()


def test_an_svg_curve_with_a_switch_of_one_s_own() -> None:
    rows = [row(number, 10.0 * number) for number in range(1, 5)]
    Path("progress.csv").write_bytes(write_progress(rows))
    evaluate("--progress-csv", "progress.csv", "--plot-output", "c.svg", "--finetune-at", 3)
    assert "stabilize after 3" in Path("c.svg").read_text()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--checkpoint", "nowhere"], "nothing is published there yet"),
        (["--progress-csv", "nowhere.csv"], "nowhere.csv"),
        (["--episodes", "0"], "--episodes is 0"),
        (["--max-steps", "1001"], "--max-steps is 1001"),
        (["--seed", "-1"], "--seed is -1"),
        (["--fps", "0"], "--fps is 0"),
        (["--fps", "51"], "--fps is 51"),
        (["--output", "film.mp4"], "film.mp4"),
        (["--plot-output", "curve.jpg"], "curve.jpg"),
        (["--output", "missing/film.gif"], "no folder missing"),
        (["--seed", str(2**31 - 5), "--episodes", "6"], "has seed 2147483648"),
        (["--workers", "2"], "--workers is 2; only --score"),
        (["--score", "--workers", "0"], "--workers is 0"),
        (["--score", "--episodes", "1"], "--episodes is 1; it must be at least 2"),
        (["--score", "--json", "missing/score.json"], "no folder missing"),
        (["--score", "--max-steps", "500"], "--max-steps is 500; --score drives whole episodes"),
        (["--score", "--smooth-alpha", "1"], "--smooth-alpha is 1"),
        (["--score", "--steer-deadzone", "0"], "--steer-deadzone is 0"),
        (["--score", "--steer-clip", "1"], "--steer-clip is 1"),
        (["--score", "--output", "film.webp"], "--output is film.webp; --score"),
        (["--score", "--fps", "25"], "--fps is 25"),
        (["--score", "--speed", "2"], "--speed is 2"),
        (["--score", "--width", "200"], "--width is 200"),
    ],
)
def test_what_cannot_be_done_is_named_before_anything_is_driven(
    options: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refusal:
        evaluate(*options)
    said = f"{refusal.value}{capsys.readouterr().err}"
    assert named in " ".join(said.replace("│", " ").split())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--width", "5"], "width is 5"),
        (["--speed", "2"], "speed is 2"),
        (["--smooth-alpha", "0"], "smooth_alpha is 0"),
    ],
)
def test_film_and_filter_options_out_of_range_are_named(
    root: Path, options: list[str], named: str
) -> None:
    with pytest.raises(SystemExit, match=named):
        evaluate("--checkpoint", root, "--max-steps", 8, *options)


def test_a_table_that_is_none_is_named() -> None:
    Path("progress.csv").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(SystemExit, match="UTF-8"):
        evaluate("--progress-csv", "progress.csv")


@dataclass
class Drives:
    """Stands where tracks are driven in processes: every track but the first is driven well."""

    seeds: Sequence[int] = ()
    workers: int = 0
    ends: BaseException | None = None

    def __call__(
        self,
        _policy: Policy,
        seeds: Sequence[int],
        *,
        workers: int,
        on_episode: Callable[[Episode], object],
    ) -> list[Episode]:
        if self.ends is not None:
            raise self.ends
        self.seeds, self.workers = seeds, workers
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
    assert drives.workers == os.cpu_count()
    printed = capsys.readouterr().out
    assert "driving with run-a-000001" in printed
    assert "score 892.0 ± 80.0 over 100 tracks" in printed
    assert "not comparable" not in printed
    assert not Path("carracing.gif").exists()
    told: dict[str, Any] = json.loads(Path("score.json").read_text())
    assert told["comparable"] is True
    assert told["mean"] == 892
    assert told["settings"]["score"] is True
    assert [episode["seed"] for episode in told["episodes"]] == list(SCORE_SEEDS)


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
