"""Load a policy from a published folder, a checkpoint or a storage root."""

from __future__ import annotations

import tempfile
from pathlib import Path

from training.policy.acting import Policy
from training.rllib.checkpoint import MODULE_FOLDER, load_actor
from training.store.checkpoint import DamagedCheckpointError, open_checkpoint_policy
from training.store.policies import PolicyStore
from training.store.published import BrokenPolicyError, read_policy
from training.store.storage import Storage


def load_policy(source: str) -> Policy:
    """Load a policy from a published folder, a run's or RLlib's checkpoint, or a storage root.

    Each may be on a disk or in a bucket. RLlib's checkpoints are pickles: load only those that your
    own training wrote.

    Raises:
        NoPolicyError: There is no policy.
        BrokenPolicyError: It is published, or a checkpoint of a run, and not complete.
        NotACheckpointError: It is a checkpoint of RLlib and not complete.
        StorageError: The address is not valid.
        OSError: Storage cannot be read.
    """
    if source.endswith(".zip"):
        return _load_checkpoint(source)
    storage = Storage.open(source)
    if storage.files(MODULE_FOLDER):
        with tempfile.TemporaryDirectory() as folder:
            name = storage.root.rstrip("/").rpartition("/")[2]
            copy = Path(folder, name)
            Storage.open(str(copy)).copy_folder(
                storage.at(MODULE_FOLDER), MODULE_FOLDER, source_filesystem=storage.filesystem
            )
            actor, description = load_actor(copy)
        return Policy(description, actor, version=name)
    try:
        return Policy.from_published(read_policy(storage))
    except FileNotFoundError:
        return Policy.from_published(PolicyStore(storage).newest())


def _load_checkpoint(source: str) -> Policy:
    """The policy in a checkpoint of a run."""
    address = source if "://" in source else str(Path(source).absolute())
    folder, _, name = address.rpartition("/")
    try:
        metadata, weights = open_checkpoint_policy(Storage.open(folder or "/"), name)
    except DamagedCheckpointError as error:
        raise BrokenPolicyError(f"{source}: {error}") from error
    return Policy.from_weights(metadata.policy, weights, version=name.removesuffix(".zip"))
