"""The checkpoints of one trial as they lie in storage, and the newest whole one among them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from training.runs.whole_checkpoint import (
    BrokenCheckpointError,
    CheckpointList,
    CutShortError,
    read_list,
    verify,
)
from training.store.storage import Storage

CHECKPOINT = "checkpoint_"
"""How Tune names them; a number of six digits follows, which counts up."""

BEST_CHECKPOINT = "best_checkpoint_"
"""Prefix of the folder beside them that holds a trial's best one; its iteration follows."""

_NAME = re.compile(rf"(?:{CHECKPOINT}|{BEST_CHECKPOINT})\d{{6}}")


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint with a list; whether its files are as listed is another question."""

    name: str
    """Of its folder."""
    listed: CheckpointList

    @property
    def is_best(self) -> bool:
        """Whether it is the copy of the trial's best one."""
        return self.name.startswith(BEST_CHECKPOINT)


@dataclass(frozen=True)
class Survey:
    """What a trial could go on from."""

    usable: list[StoredCheckpoint]
    """Newest first: the first one is whole, the others have a list."""
    refused: dict[str, str]
    """By name: why it is not used."""
    last_index: int
    """The largest number in use, -1 where none is. What a copy left that was cut short is not
    counted: it is to be written over."""


def checkpoint_name(index: int) -> str:
    """The folder's name of Tune's checkpoint of that number."""
    return f"{CHECKPOINT}{index:06d}"


def checkpoint_index(name: str) -> int:
    """The number of a checkpoint of Tune's."""
    return int(name.removeprefix(CHECKPOINT))


def survey(storage: Storage, folder: str) -> Survey:
    """Look through a trial's folder; raises OSError when storage is away."""
    found: list[StoredCheckpoint] = []
    refused: dict[str, str] = {}
    last_index = -1
    for name in storage.folders(folder):
        if not _NAME.fullmatch(name):
            continue
        try:
            listed = read_list(storage.filesystem, storage.at(f"{folder}/{name}"))
        except CutShortError as error:
            refused[name] = str(error)
            continue
        except BrokenCheckpointError as error:
            refused[name] = str(error)
        else:
            found.append(StoredCheckpoint(name, listed))
        if name.startswith(CHECKPOINT):
            last_index = max(last_index, checkpoint_index(name))
    found.sort(key=lambda one: (one.listed.iteration, not one.is_best, one.name), reverse=True)
    while found:
        try:
            verify(storage.filesystem, storage.at(f"{folder}/{found[0].name}"))
        except BrokenCheckpointError as error:
            refused[found.pop(0).name] = str(error)
        else:
            break
    return Survey(found, refused, last_index)
