"""The command line for scores, films and curves: no Ray, whole or in halves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import pytest

from tests.conftest import PublishPolicy, build_policy
from training.environment import Simulator
from training.evaluate import EvaluateOptions, choose_filter, drive_episodes, main
from training.progress import ProgressRow, write_progress
from training.rollout import Episode, drive
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
