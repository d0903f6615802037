"""A state of Tune's, written as Tune does."""

from __future__ import annotations

import json
import pickle

from ray.train._internal.session import _TrainingResult
from ray.train._internal.storage import StorageContext
from ray.tune import Checkpoint
from ray.tune.experiment import Trial
from ray.tune.utils.serialization import TuneFunctionEncoder

from training.store.storage import Storage


def write_tune_state(storage: Storage, folder: str, start: str) -> None:
    """The three files of a run that was started then, with one trial and its checkpoint."""
    context = StorageContext(
        storage_path=storage.at("runs"),
        storage_filesystem=storage.filesystem,
        experiment_dir_name="run-a",
        trial_dir_name="t-0",
    )
    trial = Trial("PPO", trial_id="t-0", stub=True, storage=context, config={"lr": 2e-4})
    trial.create_placement_group_factory()
    trial.run_metadata.checkpoint_manager.register_checkpoint(
        _TrainingResult(
            checkpoint=Checkpoint(f"{context.trial_fs_path}/checkpoint_000000", storage.filesystem),
            metrics={"training_iteration": 1},
        )
    )
    state = {
        "trial_data": [trial.get_json_state()],
        "runner_data": {"_session_str": start, "_start_time": 1.0, "_total_time": 2.0},
        "stats": {"start_time": 1.0},
    }
    files = {
        f"experiment_state-{start}.json": json.dumps(state, cls=TuneFunctionEncoder).encode(),
        f"callback-states-{start}.pkl": pickle.dumps({0: {"best": {}}}),
        f"basic-variant-state-{start}.json": pickle.dumps({"counter": 1}),
    }
    for name, content in files.items():
        storage.write(f"{folder}/{name}", content)
