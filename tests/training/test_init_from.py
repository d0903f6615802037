"""``--init-from``: a run that starts from the weights of a policy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from tests.conftest import PublishPolicy, build_actor
from tests.training.running import TINY, run_train
from training.evaluation.sources import load_policy
from training.policy.acting import weights_to_bytes
from training.store.policies import NoPolicyError, PolicyStore
from training.train import main


def assert_close(weights: bytes, others: bytes) -> None:
    left, right = safetensors.numpy.load(weights), safetensors.numpy.load(others)
    assert left.keys() == right.keys()
    for name, values in left.items():
        np.testing.assert_allclose(values, right[name], atol=1e-6)


@pytest.mark.long
def test_a_run_starts_from_the_bundled_policy_and_resumes_without_it(
    joining: dict[str, str], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    options = [
        *("--recipe", "swift", "--run-name", "a", "--init-from", "bundled", *TINY),
        *("--checkpoint-every", "1", "--lr", "1e-12", "--finetune-lr", "1e-12"),
    ]
    first = run_train(root, *options, "--max-iters", "1", log=tmp_path / "1", environment=joining)
    assert first.process.returncode == 0
    store = PolicyStore.open(str(root))
    bundled = load_policy("bundled").weights
    assert_close(store.newest().weights, bundled)
    (root / "runs" / "a" / "initial_weights.safetensors").unlink()
    second = run_train(root, *options, "--max-iters", "2", log=tmp_path / "2", environment=joining)
    assert second.process.returncode == 0
    assert second.iterations() == [2]
    assert_close(store.newest().weights, bundled)


def test_a_policy_of_another_network_is_refused_and_what_differs_is_named(tmp_path: Path) -> None:
    options = ["--results-dir", str(tmp_path), "--recipe", "published", *TINY]
    with pytest.raises(SystemExit) as refused:
        main([*options, "--init-from", "bundled"])
    for name in ("bundled", "recipe published", "convolutions", "distribution", "action_mapping"):
        assert name in str(refused.value)
    assert not list(tmp_path.glob("runs/*/initial_weights*"))


@pytest.mark.parametrize("source", ["nothing", "run-000001-abcdef", "empty"])
def test_a_source_without_a_policy_is_named(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(SystemExit, match=f"--init-from {source}: .*no "):
        main(["--results-dir", "root", *TINY, "--init-from", source])


def test_a_version_is_looked_up_in_the_storage_root(
    store: PolicyStore, publish_policy: PublishPolicy
) -> None:
    publish_policy(store, iteration=1)
    version = publish_policy(store, iteration=2).version
    publish_policy(store, iteration=3)
    loaded = load_policy(version, root=store.storage.root)
    assert loaded.version == version
    assert loaded.weights == weights_to_bytes(build_actor(seed=2))
    with pytest.raises(NoPolicyError, match="run-a-000009-abcdef"):
        load_policy("run-a-000009-abcdef", root=store.storage.root)
