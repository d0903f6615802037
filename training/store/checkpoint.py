"""Checkpoints: one file with everything that resumes a trial, whose name contains its digest.

::

    <trial>/checkpoint_<iteration>_<digest>.zip
        checkpoint.json       format, the iteration's result, how to run the policy
        policy.safetensors    the policy's weights, as they are published
        state.pkl             RLlib's state: weights, optimizer, counters

A file appears complete or not at all, and its name says what it must contain. So a truncated or
changed file is recognized, and nothing of it is unpickled. Publishing reads the first two members
only, without the optimizer's state.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Literal

import numpy as np
import pydantic
from ray import cloudpickle

from training.policy.manifest import WEIGHTS_FILE, PolicyDescription
from training.store.storage import Storage

logger = logging.getLogger(__name__)

_METADATA_FILE: Final = "checkpoint.json"
_STATE_FILE: Final = "state.pkl"
CHECKPOINT: Final = "checkpoint_"
"""Prefix of a checkpoint's name; the iteration follows, then the digest."""
_NAME = re.compile(rf"{CHECKPOINT}(\d{{6,}})_([0-9a-f]{{16}})\.zip")

PlainValue = float | int | str | bool | None


class DamagedCheckpointError(Exception):
    """A checkpoint that must not be used; the message says why."""


class NoCompleteCheckpointError(Exception):
    """A trial has checkpoints, and all of them are damaged; the message lists the reasons."""


class Metadata(pydantic.BaseModel, frozen=True, extra="forbid"):
    """What a checkpoint says about itself."""

    format_version: Literal[1] = 1
    iteration: int
    """Iterations that were trained before it."""
    result: dict[str, PlainValue]
    """The plain values of the last iteration's result."""
    policy: PolicyDescription
    """How to run the policy."""


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint as its name describes it."""

    name: str
    iteration: int
    digest: str
    """First 16 hexadecimal digits of the contents' SHA-256."""


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint that were verified."""

    metadata: Metadata
    state: Any
    """For ``Algorithm.set_state``."""


def pack_checkpoint(
    iteration: int,
    result: Mapping[str, Any],
    *,
    policy: PolicyDescription,
    weights: bytes,
    state: Any,
) -> tuple[str, bytes]:
    """Build a checkpoint in memory.

    Args:
        iteration: Iterations that were trained.
        result: The result of the last one; values that are not plain are left out.
        policy: How to run the policy.
        weights: Contents of ``policy.safetensors``.
        state: Of ``Algorithm.get_state``.

    Returns:
        The file's name and contents.
    """
    plain = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in result.items()
        if value is None or isinstance(value, float | int | str | bool | np.generic)
    }
    metadata = Metadata(iteration=iteration, result=plain, policy=policy)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        # Not pydantic's JSON: that has no NaN.
        archive.writestr(_METADATA_FILE, json.dumps(metadata.model_dump()))
        archive.writestr(WEIGHTS_FILE, weights)
        archive.writestr(_STATE_FILE, cloudpickle.dumps(state))
    content = buffer.getvalue()
    return f"{CHECKPOINT}{iteration:06d}_{_digest(content)}.zip", content


def list_checkpoints(storage: Storage, folder: str) -> list[CheckpointFile]:
    """The checkpoints in a trial's folder by their names, the newest first.

    Raises:
        OSError: Storage failed.
    """
    found = [
        CheckpointFile(name, int(match[1]), match[2])
        for name in storage.files(folder)
        if (match := _NAME.fullmatch(name))
    ]
    return sorted(found, key=lambda file: (file.iteration, file.name), reverse=True)


def read_newest_checkpoint(
    storage: Storage, folder: str
) -> tuple[Checkpoint | None, dict[str, str]]:
    """Read the newest complete checkpoint of a trial.

    Returns:
        The checkpoint, None if the trial has none; and why newer ones were skipped, by name.

    Raises:
        NoCompleteCheckpointError: There are checkpoints, but none is complete.
        OSError: Storage failed.
    """
    skipped: dict[str, str] = {}
    for file in list_checkpoints(storage, folder):
        try:
            return _read_checkpoint(storage, folder, file), skipped
        except DamagedCheckpointError as error:
            skipped[file.name] = str(error)
        except FileNotFoundError:
            skipped[file.name] = "it was deleted while it was read"
    if skipped:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise NoCompleteCheckpointError(
            f"no checkpoint in {storage.at(folder)} is whole: {reasons}"
        )
    return None, skipped


def _read_checkpoint(storage: Storage, folder: str, file: CheckpointFile) -> Checkpoint:
    content = storage.read(f"{folder}/{file.name}")
    if (found := _digest(content)) != file.digest:
        raise DamagedCheckpointError(
            f"the digest of its {len(content)} bytes is {found}, its name says {file.digest}"
        )
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        metadata = _read_metadata(archive)
        return Checkpoint(metadata, cloudpickle.loads(archive.read(_STATE_FILE)))


def read_checkpoint_policy(file: BinaryIO) -> tuple[Metadata, bytes]:
    """Read a checkpoint's policy, without its other members.

    Args:
        file: The checkpoint, open for reading; seekable.

    Returns:
        The metadata and the contents of ``policy.safetensors``.

    Raises:
        DamagedCheckpointError: It is no complete checkpoint.
        OSError: Storage failed.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return _read_metadata(archive), archive.read(WEIGHTS_FILE)
    except (zipfile.BadZipFile, KeyError, EOFError, ValueError, NotImplementedError) as error:
        raise DamagedCheckpointError(f"it is not a complete checkpoint: {error}") from error


def open_checkpoint_policy(storage: Storage, path: str) -> tuple[Metadata, bytes]:
    """:func:`read_checkpoint_policy` of a file in storage, of which only parts are transferred.

    Of one in Google's storage all of it is: its emulator, and so no test, reads parts of objects.
    """
    if storage.root.startswith("gs://"):
        return read_checkpoint_policy(io.BytesIO(storage.read(path)))
    with storage.filesystem.open_input_file(storage.at(path)) as file:
        return read_checkpoint_policy(file)


def checkpoints_to_delete(
    files: Collection[CheckpointFile],
    *,
    keep: int,
    scores: Mapping[int, float],
    returns: Mapping[int, float],
) -> list[CheckpointFile]:
    """Choose which checkpoints of a trial are deleted: all but the newest ones and the best one.

    Args:
        files: The trial's checkpoints.
        keep: How many of the newest are kept.
        scores: Validation scores of policies, by iteration.
        returns: Mean returns in training, by iteration; they choose the best where none of the
            checkpoints has a score.
    """
    newest_first = sorted(files, key=lambda file: file.iteration, reverse=True)
    kept = set(newest_first[:keep])
    for ranks in (scores, returns):
        ranked = [file for file in newest_first if file.iteration in ranks]
        if ranked:
            kept.add(max(ranked, key=lambda file: ranks[file.iteration]))
            break
    return [file for file in newest_first if file not in kept]


def _read_metadata(archive: zipfile.ZipFile) -> Metadata:
    return Metadata.model_validate(json.loads(archive.read(_METADATA_FILE)))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
