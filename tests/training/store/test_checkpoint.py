"""Checkpoints in storage: what is read back, what is recognized as damaged, what is kept."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import build_actor, build_manifest
from training.policy.acting import weights_to_bytes
from training.policy.manifest import PolicyDescription
from training.store.checkpoint import (
    CheckpointFile,
    DamagedCheckpointError,
    NoCompleteCheckpointError,
    checkpoints_to_delete,
    list_checkpoints,
    open_checkpoint_policy,
    pack_checkpoint,
    read_newest_checkpoint,
)
from training.store.storage import Storage

FOLDER = "runs/run-a/t-0"
WEIGHTS = weights_to_bytes(build_actor())


def description() -> PolicyDescription:
    manifest = build_manifest(WEIGHTS)
    names = PolicyDescription.model_fields
    return PolicyDescription(**{name: getattr(manifest, name) for name in names})


def store(storage: Storage, iteration: int) -> str:
    """A complete checkpoint; its path below the root."""
    name, content = pack_checkpoint(
        iteration,
        {"return_mean": math.nan, "steps": np.int64(7), "phase": "explore", "config": {}},
        policy=description(),
        weights=WEIGHTS,
        state={"weights": np.full(3, iteration)},
    )
    storage.write(f"{FOLDER}/{name}", content)
    return f"{FOLDER}/{name}"


def test_a_trial_without_checkpoints_has_none(any_root: str) -> None:
    assert read_newest_checkpoint(Storage.open(any_root), FOLDER) == (None, {})


def test_the_newest_is_read_back(any_root: str) -> None:
    storage = Storage.open(any_root)
    for iteration in (2, 10, 1_000_000):
        store(storage, iteration)
    storage.write(f"{FOLDER}/progress.csv", b"")
    checkpoint, skipped = read_newest_checkpoint(storage, FOLDER)
    assert checkpoint is not None
    assert skipped == {}
    assert checkpoint.metadata.iteration == 1_000_000
    np.testing.assert_array_equal(checkpoint.state["weights"], [1_000_000] * 3)
    result = checkpoint.metadata.result
    assert math.isnan(float(result.pop("return_mean") or 0))
    assert result == {"steps": 7, "phase": "explore"}


def test_its_policy_is_read_without_the_rest(any_root: str) -> None:
    storage = Storage.open(any_root)
    metadata, weights = open_checkpoint_policy(storage, store(storage, 4))
    assert weights == WEIGHTS
    assert metadata.iteration == 4
    assert metadata.policy == description()


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "other"])
def test_a_damaged_one_is_skipped_with_its_reason(tmp_path: Path, damage: str) -> None:
    storage = Storage.open(str(tmp_path))
    older, newest = store(storage, 2), store(storage, 4)
    content = bytearray(storage.read(newest))
    content[len(content) // 2] ^= 1
    damaged = {
        "truncated": bytes(content[:-1]),
        "empty": b"",
        "flipped": bytes(content),
        "other": storage.read(older),
    }
    storage.write(newest, damaged[damage])
    checkpoint, skipped = read_newest_checkpoint(storage, FOLDER)
    assert checkpoint is not None
    assert checkpoint.metadata.iteration == 2
    assert list(skipped) == [newest.rpartition("/")[2]]
    assert "digest" in skipped[newest.rpartition("/")[2]]


def test_where_all_are_damaged_the_error_names_each(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    for path in (store(storage, 2), store(storage, 4)):
        storage.write(path, b"")
    with pytest.raises(NoCompleteCheckpointError, match=r"checkpoint_000004.*checkpoint_000002"):
        read_newest_checkpoint(storage, FOLDER)


def test_what_a_killed_writer_left_is_no_checkpoint(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    storage.write(f"{FOLDER}/checkpoint_000002_0123456789abcdef.zip.3f.tmp", b"half")
    assert list_checkpoints(storage, FOLDER) == []


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + 18 * b"\0"])
def test_a_policy_in_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    storage = Storage.open(str(tmp_path))
    storage.write("x.zip", content)
    with pytest.raises(DamagedCheckpointError):
        open_checkpoint_policy(storage, "x.zip")


@pytest.mark.parametrize(
    ("scores", "returns", "kept"),
    [
        ({}, {}, [40, 50]),
        ({}, {10: 3.0, 30: 9.0, 50: 2.0}, [30, 40, 50]),
        ({20: 5.0, 40: 1.0}, {10: 3.0, 30: 9.0}, [20, 40, 50]),
        ({50: 5.0, 20: 1.0}, {}, [40, 50]),
        ({7: 900.0}, {10: 3.0}, [10, 40, 50]),
    ],
)
def test_the_newest_and_the_best_are_kept(
    scores: dict[int, float], returns: dict[int, float], kept: list[int]
) -> None:
    files = [CheckpointFile(f"{iteration}", iteration, "") for iteration in range(10, 60, 10)]
    deleted = checkpoints_to_delete(files, keep=2, scores=scores, returns=returns)
    assert sorted(file.iteration for file in set(files) - set(deleted)) == kept
