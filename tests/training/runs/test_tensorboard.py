"""TensorBoard's event files in a trial's folder."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tests.training.results import result
from training.runs.tensorboard import TensorBoardCallback
from training.store.background import StorageQueue
from training.store.storage import Storage


def test_a_file_is_stored_with_each_checkpoint_and_at_the_end(
    disk_root: str, tmp_path: Path
) -> None:
    storage, queue = Storage.open(disk_root), StorageQueue("test")
    local = tmp_path / "local"
    local.mkdir()
    callback = TensorBoardCallback(storage, "run-a", queue, str(local))
    trial: Any = "t-0"
    for iteration, stored in ((1, 0), (2, 2), (3, 2), (4, 4), (5, 4)):
        values = result(iteration, stored_iteration=stored, learners={"kl": math.nan, "on": True})
        callback.on_trial_result(0, [], trial, values)
    queue.finish(300)
    files = storage.files("runs/run-a/t-0")
    assert [name.rpartition(".")[2] for name in files] == ["000001", "000003"]
    callback.on_experiment_end([])
    queue.finish(300)
    files = storage.files("runs/run-a/t-0")
    assert len(files) == 3
    assert all("tfevents" in name for name in files)
    content = storage.read(f"runs/run-a/t-0/{files[0]}")
    assert b"ray/tune/return_mean" in content
    assert b"ray/tune/learners/kl" not in content
    assert not any(path.is_file() for path in local.rglob("*"))
