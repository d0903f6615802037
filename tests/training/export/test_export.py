"""``python -m training.export``: the folder, its ONNX model, and the upload to a hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image

from tests.training.export.hub_server import TOKEN, Hub, serve_hub
from training.environment.actions import ActionMapping
from training.evaluation.sources import load_policy
from training.export import onnx_model
from training.export.__main__ import main
from training.export.onnx_model import GreedyControls, ParityError, check_parity
from training.export.score import ScoreError, read_score
from training.policy.acting import Policy
from training.policy.network import NetworkShape
from training.store.published import BUNDLED_FOLDER


class Exported(NamedTuple):
    folder: Path
    hub: Hub
    printed: str


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    """The bundled policy, exported and uploaded by the real command."""
    home = tmp_path_factory.mktemp("export")
    with serve_hub() as hub:
        variables = {
            "HF_ENDPOINT": hub.address,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(home / "hf"),
            "HF_HUB_DISABLE_XET": "1",
        }
        done = subprocess.run(
            [
                *(sys.executable, "-W", "ignore", "-m", "training.export"),
                *("--checkpoint", BUNDLED_FOLDER, "--score", BUNDLED_FOLDER / "score.json"),
                *("--output", home / "policy", "--push", "someone/car", "--private"),
            ],
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=1200,
        )
        assert done.returncode == 0, done.stderr
        yield Exported(home / "policy", hub, done.stdout)


def test_the_folder_holds_what_a_hub_shows(exported: Exported) -> None:
    assert {path.name for path in exported.folder.iterdir()} == {
        *("README.md", "film.gif", "manifest.json", "policy.onnx", "policy.safetensors"),
        "score.json",
    }
    with Image.open(exported.folder / "film.gif") as film:
        assert film.is_animated  # type: ignore[attr-defined]


def test_the_card_has_metadata_and_the_scoreboard(exported: Exported) -> None:
    card = ModelCard.load(exported.folder / "README.md")
    data: Any = card.data
    assert data.pipeline_tag == "reinforcement-learning"
    assert "CarRacing-v3" in data.tags
    (result,) = data.eval_results
    score = json.loads((BUNDLED_FOLDER / "score.json").read_text())
    assert result.metric_value == f"{score['mean']:.1f} +/- {score['std']:.1f}"
    assert f"| median | {score['median']:.1f} |" in card.text
    assert "](film.gif)" in card.text


def test_the_upload_is_the_folder(exported: Exported) -> None:
    assert exported.hub.repositories == {"someone/car": True}
    assert exported.hub.files == {
        path.name: path.read_bytes() for path in exported.folder.iterdir()
    }
    assert f"{exported.hub.address}/someone/car/commit/" in exported.printed


def test_evaluate_loads_the_folder(exported: Exported) -> None:
    ours, original = load_policy(str(exported.folder)), load_policy(str(BUNDLED_FOLDER))
    assert ours.manifest == original.manifest
    assert ours.weights == original.weights


def test_the_onnx_model_decides_batches_of_any_size(exported: Exported) -> None:
    model = (exported.folder / "policy.onnx").read_bytes()
    onnx.checker.check_model(onnx.load_model_from_string(model))
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    policy = load_policy(str(BUNDLED_FOLDER))
    for count in (1, 2, 9):
        observations = np.random.default_rng(count).integers(0, 256, (count, 84, 84, 4), np.uint8)
        (controls,) = session.run(None, {"observations": observations})
        np.testing.assert_allclose(controls, policy.act(observations), atol=1e-5)


def test_a_model_of_other_weights_is_refused(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_model, "DECISIONS", 5)
    policy = load_policy(str(BUNDLED_FOLDER))
    model = (exported.folder / "policy.onnx").read_bytes()
    assert check_parity(model, policy) <= 1e-5
    other = Policy(policy.manifest, policy.manifest.build_actor(), version="other")
    with pytest.raises(ParityError, match="differ by up to"):
        check_parity(model, other)


@pytest.mark.parametrize("mapping", ["clip_unit_to_bounds", "steering_and_pedal"])
@pytest.mark.parametrize("distribution", ["diagonal_gaussian", "beta"])
def test_controls_in_pytorch_are_the_policys(mapping: ActionMapping, distribution: Any) -> None:
    description = load_policy(str(BUNDLED_FOLDER)).description.model_copy(
        update={
            "network": NetworkShape(distribution=distribution),
            "action_mapping": mapping,
        }
    )
    torch.manual_seed(0)
    actor = description.build_actor()
    weights = actor.state_dict()
    weights["head.2.weight"] *= 20
    weights["head.2.bias"].fill_(0.4)
    policy = Policy(description, actor, version="wild")
    # From black to white, so that outputs lie on both sides of each bound.
    observations = np.random.default_rng(0).integers(0, 256, (64, 84, 84, 4), np.uint8)
    observations[:] = observations * np.linspace(0, 1, 64)[:, None, None, None]
    model = GreedyControls(description, policy.weights)
    with torch.inference_mode():
        controls = model(torch.from_numpy(observations)).numpy()
    np.testing.assert_allclose(controls, policy.act(observations), atol=1e-6)
    assert np.ptp(controls, axis=0).max() > 0.01


def test_a_score_of_other_weights_is_refused() -> None:
    score = json.loads((BUNDLED_FOLDER / "score.json").read_text())
    policy = load_policy(str(BUNDLED_FOLDER))
    with pytest.raises(ScoreError, match=r"0000.*a47a"):
        read_score(json.dumps({**score, "sha256": "0" * 64}).encode(), policy)
    with pytest.raises(ScoreError, match="median"):
        read_score(json.dumps({**score, "median": None}).encode(), policy)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--seed", "-1"], "--seed is -1"),
        (["--private"], "--private"),
        (["--checkpoint", "nowhere"], "nowhere"),
        (["--output", str(BUNDLED_FOLDER / "score.json")], "score.json"),
        (["--checkpoint", str(BUNDLED_FOLDER), "--score", "missing.json"], "missing.json"),
    ],
)
def test_what_cannot_be_done_is_named(
    options: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as refusal:
        main(options)
    assert named in f"{refusal.value}{capsys.readouterr().err}"
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.extras.find_spec", {"onnx": 1}.get)
    with pytest.raises(SystemExit, match=r"onnxruntime.*pip install .*\[export\]"):
        main(["--checkpoint", str(BUNDLED_FOLDER)])


def test_importing_it_loads_no_extra() -> None:
    script = (
        "import sys, app.client, training.evaluate, training.export.__main__\n"
        "extras = {'onnx', 'onnxruntime', 'onnxscript', 'huggingface_hub', 'imageio'}\n"
        "print(extras & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.strip() == "set()"
