"""Inside an RLlib checkpoint: the actor, without an algorithm or a running Ray."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

from training.policy.manifest import PolicyDescription
from training.policy.network import Actor

MODULE_FOLDER = "learner_group/learner/rl_module/default_policy"
"""Of the module, relative to the checkpoint of an algorithm."""


class NotACheckpointError(Exception):
    """A folder that is not a whole RLlib checkpoint of this project; the message says why."""


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder looks like an RLlib checkpoint of an algorithm."""
    return (folder / MODULE_FOLDER).is_dir()


def load_actor(folder: Path) -> tuple[Actor, PolicyDescription]:
    """Load the actor of a checkpoint.

    RLlib's checkpoints are pickles: load only those that your own training wrote.

    Raises:
        NotACheckpointError: The folder holds none, or one that was cut short.
    """
    from ray.rllib.core.rl_module.rl_module import RLModule

    from training.rllib.module import DrivingModule

    if not is_checkpoint(folder):
        raise NotACheckpointError(f"{folder} is not an RLlib checkpoint: it has no {MODULE_FOLDER}")
    try:
        module = RLModule.from_checkpoint((folder / MODULE_FOLDER).resolve())
    except (OSError, EOFError, ValueError, RuntimeError, KeyError, UnpicklingError) as error:
        raise NotACheckpointError(f"{folder} is not a whole checkpoint: {error}") from error
    if not isinstance(module, DrivingModule):
        raise NotACheckpointError(f"{folder} holds a {type(module).__name__}, not this project's")
    return module.actor, module.description
