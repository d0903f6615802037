"""Tune's own state in a run's folder: the newest that is whole is what Tune finds there.

Tune keeps three files for each time that a run was started, named by that time, takes the newest
of each, and begins the run anew where it cannot read one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from pyarrow import fs
from ray import cloudpickle
from ray.tune.experiment import Trial
from ray.tune.utils.serialization import TuneFunctionDecoder

from training.store.storage import Storage

logger = logging.getLogger(__name__)

EXPERIMENT = "experiment_state-"
_CALLBACKS = "callback-states-"
_SEARCH = "basic-variant-state-"
_DAMAGED = "damaged-"
_RUNNER_DATA = {"_session_str", "_start_time"}
"""What Tune cannot do without."""
_KEPT = 3
"""So many are kept of those that were whole."""


class BrokenStateError(Exception):
    """Tune's state in a run's folder cannot be read; the message says what is wrong."""


def has_state(storage: Storage, folder: str) -> bool:
    """Whether Tune has left a state in this folder, whole or not."""
    return bool(_starts(storage, folder))


def leave_newest_whole(storage: Storage, folder: str) -> None:
    """Put damaged states aside, until the newest is whole.

    What Tune reads is unpickled here too: these files are a run's own.

    Raises:
        BrokenStateError: None is whole.
        OSError: Storage is away.
    """
    reasons: list[str] = []
    starts = _starts(storage, folder)
    for number, start in enumerate(starts):
        try:
            _read(storage, folder, start)
        except BrokenStateError as error:
            reasons.append(str(error))
            logger.warning("%s, started %s, is put aside: %s", "a state of Tune", start, error)
        else:
            for older in starts[number + _KEPT :]:
                _each(storage, folder, older, storage.filesystem.delete_file)
            for newer in starts[:number]:
                _each(storage, folder, newer, lambda path: _put_aside(storage.filesystem, path))
            return
    raise BrokenStateError("; ".join(reasons))


def _starts(storage: Storage, folder: str) -> list[str]:
    """When the run was started, newest first, as the files' names have it."""
    return sorted(
        (
            name.removeprefix(EXPERIMENT).removesuffix(".json")
            for name in storage.files(folder)
            if name.startswith(EXPERIMENT) and name.endswith(".json")
        ),
        reverse=True,
    )


def _files(start: str) -> dict[str, Callable[[bytes], Any]]:
    """The files of a start, and what reads each."""
    return {
        f"{EXPERIMENT}{start}.json": _experiment,
        f"{_CALLBACKS}{start}.pkl": cloudpickle.loads,
        f"{_SEARCH}{start}.json": cloudpickle.loads,
    }


def _experiment(content: bytes) -> None:
    """Read what Tune restores: a trial's state is JSON within JSON, with pickles in hexadecimal."""
    state = TuneFunctionDecoder(allow_cloudpickle=True).decode(content.decode())
    if not state["trial_data"]:
        raise ValueError("it tells of no trials")
    if missing := _RUNNER_DATA - state["runner_data"].keys():
        raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    for trial_state, run_metadata in state["trial_data"]:
        # What it trains is not registered yet.
        trial = Trial.from_json_state(trial_state, stub=True)
        trial.restore_run_metadata(run_metadata)
        # Looks at its records of checkpoints; storage is not asked.
        trial.set_storage(trial.storage)


def _read(storage: Storage, folder: str, start: str) -> None:
    for name, load in _files(start).items():
        try:
            content = storage.read(f"{folder}/{name}")
        except FileNotFoundError as error:
            raise BrokenStateError(f"{name} is missing") from error
        try:
            load(content)
        except MemoryError:
            raise
        except Exception as error:
            # A damaged pickle raises whatever its bytes happen to say.
            raise BrokenStateError(f"{name} is damaged: {type(error).__name__}: {error}") from error


def _each(storage: Storage, folder: str, start: str, action: Callable[[str], Any]) -> None:
    for name in _files(start):
        path = storage.at(f"{folder}/{name}")
        if storage.filesystem.get_file_info(path).type == fs.FileType.File:
            action(path)


def _put_aside(filesystem: fs.FileSystem, path: str) -> None:
    head, _, name = path.rpartition("/")
    filesystem.move(path, f"{head}/{_DAMAGED}{name}")
