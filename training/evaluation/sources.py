"""Load a policy from whatever a command line names."""

from __future__ import annotations

import tempfile
from pathlib import Path

from training.policy.acting import Policy
from training.rllib.checkpoint import MODULE_FOLDER, load_actor
from training.store.policies import PolicyStore
from training.store.published import read_policy
from training.store.storage import Storage


def load_policy(source: str) -> Policy:
    """Load a policy from a published folder, an RLlib checkpoint, or a storage root.

    Each may be on a disk or in a bucket. RLlib's checkpoints are pickles: load only those that your
    own training wrote.

    Raises:
        NoPolicyError: There is no policy.
        BrokenPolicyError: It is published and not complete.
        NotACheckpointError: It is a checkpoint and not complete.
        StorageError: The address is not valid.
        OSError: Storage cannot be read.
    """
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
