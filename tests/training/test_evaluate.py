"""The command line for scores and films of episodes: no Ray, whole or in halves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import gymnasium as gym
import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image, ImageSequence
from pyarrow import fs

from tests.conftest import PublishPolicy, build_actor, build_manifest, build_policy
from tests.training.evaluating import evaluate
from training.environment.pipeline import Simulator
from training.evaluate import drive_episodes
from training.evaluation.options import FilmOptions
from training.evaluation.rollout import Episode, drive
from training.evaluation.sources import load_policy
from training.policy.acting import weights_to_bytes
from training.policy.manifest import PolicyDescription
from training.policy.published import BrokenPolicyError
from training.recipe import Recipe
from training.store.checkpoint import pack_checkpoint
from training.store.policies import PolicyStore

pytestmark = pytest.mark.usefixtures("own_folder")


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


@pytest.mark.parametrize(("output", "encoding"), [("film.gif", "GIF"), ("film.webp", "WEBP")])
def test_a_film_of_the_rate_the_speed_and_the_format_asked_for(
    root: Path, output: str, encoding: str
) -> None:
    evaluate(
        *("--checkpoint", root, "--max-steps", 50, "--width", 60),
        *("--output", output, "--fps", 10, "--speed", 0.5),
    )
    with Image.open(output) as film:
        assert film.format == encoding
        assert film.size == (60, 40)
        # 50 frames are a second of simulated time; the last picture is shown like the others.
        durations = []
        for frame in ImageSequence.Iterator(film):
            frame.load()
            durations.append(frame.info["duration"])
    assert durations == [200] * 11


def test_an_mp4(root: Path) -> None:
    evaluate(
        *("--checkpoint", root, "--max-steps", 50, "--width", 60),
        *("--output", "film.mp4", "--fps", 10),
    )
    film = cv2.VideoCapture("film.mp4")
    assert film.get(cv2.CAP_PROP_FRAME_WIDTH) == 60
    assert film.get(cv2.CAP_PROP_FPS) == 50
    # The last picture is shown like the others, as in a GIF.
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 55


def test_an_mp4_without_its_extra_is_refused_before_anything_is_driven(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("training.extras.find_spec", {"imageio": 1}.get)
    with pytest.raises(SystemExit, match=r"imageio_ffmpeg is not installed.*pip install"):
        evaluate("--checkpoint", root, "--output", "film.mp4")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("film", [False, True])
def test_scores_are_taken_on_stock(film: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    simulators: list[Simulator] = []

    def noted(*args: Any, simulator: Simulator, **options: Any) -> Episode:
        simulators.append(simulator)
        return drive(*args, simulator=simulator, **options)

    monkeypatch.setattr("training.evaluate.drive", noted)
    options = FilmOptions(episodes=2, max_steps=8, film=film, width=60)
    policy = build_policy()
    episodes = drive_episodes(policy, policy.description.action_filter, options)
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


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_recipe: Recipe) -> Path:
    """What an RLlib checkpoint holds of the network that it was written for."""
    import torch

    from training.rllib.module import module_spec

    spec = module_spec(tiny_recipe.description())
    spec.observation_space = gym.spaces.Box(0, 255, (84, 84, 4), np.uint8)
    spec.action_space = gym.spaces.Box(-1, 1, (3,), np.float32)
    with torch.random.fork_rng():
        module = spec.build()
    folder = tmp_path / "checkpoint_000003"
    module.save_to_path(folder / "learner_group/learner/rl_module/default_policy")
    return folder


def test_an_rllib_checkpoint_is_taken_too(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate("--checkpoint", checkpoint, "--no-film", "--max-steps", 4, "--json", "scores.json")
    assert "checkpoint_000003" in capsys.readouterr().out
    told = json.loads(Path("scores.json").read_text())
    assert told["policy"] == "checkpoint_000003"
    assert [episode["frames"] for episode in told["episodes"]] == [4]


def test_an_rllib_checkpoint_in_a_bucket_is_taken_too(
    checkpoint: Path, any_store: PolicyStore, capsys: pytest.CaptureFixture[str]
) -> None:
    any_store.storage.copy_folder(
        str(checkpoint), "trial/checkpoint_000003", source_filesystem=fs.LocalFileSystem()
    )
    address = f"{any_store.storage.root}/trial/checkpoint_000003"
    evaluate("film", "--checkpoint", address, "--no-film", "--max-steps", 4)
    assert "driving with checkpoint_000003" in capsys.readouterr().out


def test_an_rllib_checkpoint_that_was_cut_short_is_refused(checkpoint: Path) -> None:
    (state,) = checkpoint.rglob("module_state.pkl")
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(SystemExit, match="checkpoint_000003"):
        evaluate("--checkpoint", checkpoint, "--no-film", "--max-steps", 4)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_checkpoint_of_a_run_is_taken_too(tmp_path: Path, damaged: bool) -> None:
    weights = weights_to_bytes(build_actor())
    manifest = build_manifest(weights)
    fields = {name: getattr(manifest, name) for name in PolicyDescription.model_fields}
    name, content = pack_checkpoint(
        3, {}, policy=PolicyDescription(**fields), weights=weights, state=None
    )
    (tmp_path / name).write_bytes(b"half" if damaged else content)
    if damaged:
        with pytest.raises(BrokenPolicyError, match=name):
            load_policy(str(tmp_path / name))
    else:
        policy = load_policy(str(tmp_path / name))
        assert policy.weights == weights
        assert policy.version == name.removesuffix(".zip")


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
    ("options", "named"),
    [
        (["--checkpoint", "nowhere"], "nothing is published there yet"),
        (["--progress-csv", "nowhere.csv"], "nowhere.csv"),
        (["--episodes", "0"], "--episodes is 0"),
        (["--max-steps", "1001"], "--max-steps is 1001"),
        (["--seed", "-1"], "--seed is -1"),
        (["--fps", "0"], "--fps is 0"),
        (["--fps", "51"], "--fps is 51"),
        (["--output", "film.avi"], "film.avi"),
        (["--plot-output", "curve.jpg"], "curve.jpg"),
        (["--output", "missing/film.gif"], "no folder missing"),
        (["--seed", str(2**31 - 5), "--episodes", "6"], "has seed 2147483648"),
        (["--workers", "2"], "--workers is 2; only a score"),
        (["--score", "--workers", "0"], "--workers is 0"),
        (["--score", "--episodes", "1"], "--episodes is 1; it must be at least 2"),
        (["--score", "--json", "missing/score.json"], "no folder missing"),
        (["--score", "--max-steps", "500"], "--max-steps is 500; --score drives whole episodes"),
        (["--score", "--output", "film.webp"], "--output is film.webp; --score"),
        (["--score", "--fps", "25"], "--fps is 25"),
        (["--score", "--speed", "2"], "--speed is 2"),
        (["--score", "--width", "200"], "--width is 200"),
        (["--score", "--no-film"], "--film is False"),
        (["score", "--episodes", "1"], "--episodes is 1; it must be at least 2"),
        (["score", "--output", "film.gif"], "--output"),
        (["film", "--output", "film.avi"], "film.avi"),
        (["film", "--workers", "2"], "--workers"),
        (["curve"], "PROGRESS-CSV"),
        (["curve", "nowhere.csv"], "nowhere.csv"),
        (["curve", "nowhere.csv", "--output", "curve.jpg"], "curve.jpg"),
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
