"""A run with one trial and its checkpoints in storage, as it is when Tune takes it up."""

from __future__ import annotations

from pathlib import Path

from pyarrow import fs
from ray.train._internal.session import _TrainingResult
from ray.train._internal.storage import StorageContext
from ray.tune import Checkpoint, CheckpointConfig
from ray.tune.experiment import Trial

from training.runs.chosen_checkpoint import stored_iteration
from training.runs.run import Run
from training.runs.whole_checkpoint import seal
from training.store.storage import Storage


class Scene:
    """A run with one trial, as it is when Tune takes it up."""

    def __init__(self, root: str, scratch: Path) -> None:
        self.run = Run(Storage.open(root), "run-a")
        self._scratch = scratch
        storage = StorageContext(
            storage_path=self.run.storage.at("runs"),
            storage_filesystem=self.run.storage.filesystem,
            experiment_dir_name="run-a",
            trial_dir_name="t-0",
        )
        self.trial = Trial(
            "PPO",
            trial_id="t-0",
            stub=True,
            storage=storage,
            checkpoint_config=CheckpointConfig(num_to_keep=3),
        )

    def store(self, name: str, iteration: int) -> None:
        """A whole checkpoint in storage."""
        folder = self._scratch / name
        (folder / "learner").mkdir(parents=True)
        (folder / "learner" / "state.pkl").write_bytes(b"state" * iteration)
        seal(folder, iteration, {"training_iteration": iteration, "return_mean": 1.5})
        self.run.storage.copy_folder(
            str(folder), f"runs/run-a/t-0/{name}", source_filesystem=fs.LocalFileSystem()
        )

    def damage(self, name: str) -> None:
        self.run.storage.write(f"runs/run-a/t-0/{name}/learner/state.pkl", b"half")

    def name(self, name: str, iteration: int) -> None:
        """Tune's state names this one as the newest."""
        self.trial.run_metadata.checkpoint_manager.register_checkpoint(
            _TrainingResult(
                checkpoint=Checkpoint(
                    self.run.storage.at(f"runs/run-a/t-0/{name}"), self.run.storage.filesystem
                ),
                metrics={"training_iteration": iteration},
            )
        )
        self.trial.storage.current_checkpoint_index = int(name[-6:])

    @property
    def chosen(self) -> tuple[str, int]:
        return Path(self.trial.checkpoint.path).name, stored_iteration(self.trial)
