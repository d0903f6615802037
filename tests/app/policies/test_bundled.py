from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import pytest

from app.errors import PolicyNotFoundError
from app.policies.bundled import read_bundled, read_bundled_progress
from app.policies.loading import load_bundled
from tests.conftest import PublishPolicy
from training.evaluation.progress import read_progress
from training.evaluation.rollout import drive
from training.policy.manifest import WEIGHTS_FILE
from training.store.policies import PolicyStore
from training.store.published import BUNDLED_FOLDER

MOST_BYTES = 10_000_000


def test_it_is_whole_and_small() -> None:
    manifest = read_bundled().manifest
    assert load_bundled().version == manifest.version
    # The digest was checked; the version promises a part of it.
    assert manifest.version.endswith(manifest.digest[:8])
    assert sum(path.stat().st_size for path in BUNDLED_FOLDER.iterdir()) <= MOST_BYTES


def test_it_drives() -> None:
    episode = drive(load_bundled(), seed=7, simulator="fast", max_frames=300)
    assert episode.score > 0


def test_its_table_is_of_its_trial() -> None:
    manifest = read_bundled().manifest
    rows = [row for row in read_progress(read_bundled_progress()) if row.trial == manifest.trial]
    assert manifest.iteration in [row.iteration for row in rows]


def test_its_score_is_its_own() -> None:
    report = json.loads((BUNDLED_FOLDER / "score.json").read_bytes())
    manifest = read_bundled().manifest
    assert (report["policy"], report["sha256"]) == (manifest.version, manifest.digest)
    assert report["comparable"]
    assert report["mean"] == pytest.approx(fmean(e["score"] for e in report["episodes"]))


def test_what_is_not_whole_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.policies.bundled.BUNDLED_FOLDER", tmp_path)
    with pytest.raises(PolicyNotFoundError, match="cannot be used"):
        load_bundled()
    (tmp_path / "manifest.json").write_bytes((BUNDLED_FOLDER / "manifest.json").read_bytes())
    with pytest.raises(PolicyNotFoundError, match="is missing"):
        load_bundled()
    (tmp_path / WEIGHTS_FILE).write_bytes(b"torn")
    with pytest.raises(PolicyNotFoundError, match="4 bytes"):
        load_bundled()


def test_another_folder_takes_its_place(
    tmp_path: Path, publish_policy: PublishPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PolicyStore.open(str(tmp_path))
    ref = publish_policy(store)
    monkeypatch.setenv("CARRACING_BUNDLED_FOLDER", str(tmp_path / ref.folder))
    assert load_bundled().version == ref.version
    with pytest.raises(FileNotFoundError):
        read_bundled_progress()


@pytest.mark.parametrize("folder", ["nowhere", "ftp://host/policy"])
def test_a_folder_without_a_policy_is_named(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRACING_BUNDLED_FOLDER", folder)
    with pytest.raises(PolicyNotFoundError, match=folder):
        load_bundled()
