"""Load a policy by its version, or from a published folder, a checkpoint or a storage root."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Final

from training.policy.acting import Policy
from training.policy.published import BrokenPolicyError
from training.rllib.checkpoint import MODULE_FOLDER, load_actor
from training.store.checkpoint import DamagedCheckpointError, open_checkpoint_policy
from training.store.layout import PolicyRef
from training.store.policies import NoPolicyError, PolicyStore
from training.store.published import BUNDLED_FOLDER, read_policy
from training.store.storage import Storage

BUNDLED: Final = "bundled"
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*-\d{6,}-[0-9a-f]+")


def load_policy(source: str, *, root: str | None = None) -> Policy:
    """Load a policy.

    Args:
        source: A published folder, a run's or RLlib's checkpoint, or a storage root, each on a disk
            or in a bucket; ``bundled``; or the version of a policy in ``root``. RLlib's checkpoints
            are pickles: load only those that your own training wrote.
        root: The storage root for versions.

    Raises:
        NoPolicyError: There is no policy.
        BrokenPolicyError: It is published, or a checkpoint of a run, and not complete.
        NotACheckpointError: It is a checkpoint of RLlib and not complete.
        StorageError: The address is not valid.
        OSError: Storage cannot be read.
    """
    if not Path(source).exists():
        if source == BUNDLED:
            return Policy.from_published(read_policy(Storage.open(str(BUNDLED_FOLDER))))
        if root is not None and _VERSION.fullmatch(source):
            return _load_version(root, source)
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


def _load_version(root: str, version: str) -> Policy:
    store = PolicyStore.open(root)
    try:
        return Policy.from_published(store.fetch(PolicyRef.of_version(version)))
    except FileNotFoundError as error:
        raise NoPolicyError(f"there is no policy {version} in {store.storage.root}") from error


def _load_checkpoint(source: str) -> Policy:
    """The policy in a checkpoint of a run."""
    address = source if "://" in source else str(Path(source).absolute())
    folder, _, name = address.rpartition("/")
    try:
        metadata, weights = open_checkpoint_policy(Storage.open(folder or "/"), name)
    except DamagedCheckpointError as error:
        raise BrokenPolicyError(f"{source}: {error}") from error
    return Policy.from_weights(metadata.policy, weights, version=name.removesuffix(".zip"))
