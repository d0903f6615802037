"""A run in storage: start it, resume it, or refuse to mix it up with another."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from training.anyscale import anyscale_job
from training.recipe import Recipe
from training.runs.lock import LOCK_FILE, RunLock
from training.runs.search import TRIALS_FILE
from training.store.layout import run_folder
from training.store.storage import Storage, StorageError

ResumeMode = Literal["auto", "never", "must"]

SETTINGS_FILE = "run.json"
_INITIAL_WEIGHTS_FILE = "initial_weights.safetensors"
_RESTART_FILE = "restarted.json"
"""Which job has begun the run again."""
_OLD_STATE = "experiment_state-"
"""Prefix of files that a run of an older version has."""
_POLICIES = "policies"
# A policy's version is the run's name and some twenty characters more.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class RunError(Exception):
    """A run that cannot be started or resumed as asked; the message says what would work."""


def default_run_name(recipe_name: str, environ: Mapping[str, str] | None = None) -> str:
    """A name for a run.

    In an Anyscale job it is the job's id, which a retry of the job shares and another submission
    does not, so that a retry resumes. Elsewhere it is the recipe's name and the time.
    """
    return anyscale_job(environ) or f"{recipe_name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


class Run:
    """One run's folder below a storage root."""

    def __init__(self, storage: Storage, name: str) -> None:
        """Name a run; raises RunError where the name cannot name a folder and a policy."""
        if not _NAME.fullmatch(name):
            raise RunError(
                f"run name {name!r}: use letters, digits, '.', '_' and '-', at most 100 of them, "
                "and begin with a letter or digit"
            )
        self.storage = storage
        self.name = name
        self.folder = run_folder(name)
        self._lock = RunLock(storage, self.folder)

    @property
    def path(self) -> str:
        """The run's folder as its filesystem names it."""
        return self.storage.at(self.folder)

    @property
    def address(self) -> str:
        """The run's folder as a person would write it."""
        return f"{self.storage.root}/{self.folder}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training this run.

        Raises:
            RunLockedError: One does.
            StorageError: The storage root cannot be read or written.
        """
        with self._lock.held():
            yield

    def raise_if_lost(self) -> None:
        """Raise RunLockedError where another process has taken the run over."""
        self._lock.raise_if_lost()

    def prepare(self, settings: dict[str, Any], *, resume: ResumeMode, restart: bool) -> bool:
        """Decide how to begin, and keep the settings for the next time.

        Args:
            settings: What decides what is trained, ready for JSON. When a run continues, only
                ``max_iters`` may have grown; the larger value is kept.
            resume: ``auto`` resumes where there is something to resume, ``never`` and ``must``
                insist on one or the other.
            restart: Begin again; policies that were published stay. A retry of the Anyscale job
                that has done so runs the same command, and goes on.

        Returns:
            Whether to resume.

        Raises:
            RunError: The run is there and must not be, or the reverse, or has other settings, or
                what it would be resumed from is damaged.
            StorageError: The storage root cannot be read or written.
        """
        try:
            return self._prepare(settings, resume=resume, restart=restart)
        except OSError as error:
            raise StorageError(f"storage root {self.storage.root!r}: {error}") from error

    def _prepare(self, settings: dict[str, Any], *, resume: ResumeMode, restart: bool) -> bool:
        if restart and not self._restarted_by_this_job():
            self._clear()
            if (job := anyscale_job()) is not None:
                self.write_json(_RESTART_FILE, {"job": job})
        files = self.storage.files(self.folder)
        if any(name.startswith(_OLD_STATE) for name in files):
            raise RunError(
                f"run {self.name!r} in {self.address} was started by an older version of this "
                "program, which stored other checkpoints; choose another --run-name, or start it "
                "again with --restart, its published policies stay"
            )
        found = TRIALS_FILE in files
        if found and resume == "never":
            raise RunError(
                f"run {self.name!r} is in {self.address} already; choose another --run-name, "
                "--resume auto to continue it, or --restart to begin again"
            )
        if not found and resume == "must":
            raise RunError(f"there is no run to resume in {self.address}; it must have that name")
        if found:
            self._refuse_other(settings)
        else:
            self.write_json(SETTINGS_FILE, settings)
        return found

    def _restarted_by_this_job(self) -> bool:
        job = anyscale_job()
        if job is None:
            return False
        try:
            return bool(
                json.loads(self.storage.read(f"{self.folder}/{_RESTART_FILE}"))["job"] == job
            )
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            return False

    @property
    def initial_weights_file(self) -> str:
        """The weights that trials start from, relative to the storage root."""
        return f"{self.folder}/{_INITIAL_WEIGHTS_FILE}"

    def write_initial_weights(self, weights: bytes) -> None:
        """Keep the weights that trials start from; raises StorageError."""
        try:
            self.storage.write(self.initial_weights_file, weights)
        except OSError as error:
            raise self.storage.failure(error) from error

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON document into the run's folder."""
        document = json.dumps(content, indent=2, allow_nan=False)
        self.storage.write(f"{self.folder}/{name}", document.encode())

    def _refuse_other(self, settings: dict[str, Any]) -> None:
        try:
            before = json.loads(self.storage.read(f"{self.folder}/{SETTINGS_FILE}"))
        except FileNotFoundError:
            return
        except ValueError as error:
            raise RunError(
                f"{self.address}/{SETTINGS_FILE}, which tells the settings that the run was "
                f"started with, is damaged: {error}. Put it back, or begin again with --restart"
            ) from error
        if not isinstance(before, dict):
            raise RunError(
                f"{self.address}/{SETTINGS_FILE} holds no settings. Put it back, or begin again "
                "with --restart"
            )
        now = json.loads(json.dumps(settings))
        before = json.loads(json.dumps(_filled(before, now, Recipe()), default=asdict))
        changed = [
            f"{name} was {before.get(name)!r} and is now {now.get(name)!r}"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]
        if not changed:
            return
        if not _only_longer(before, now):
            raise RunError(
                f"run {self.name!r} was started with other settings: {'; '.join(changed)}. "
                "Resume it with the same ones (only --max-iters may grow), or choose another "
                "--run-name or --restart"
            )
        self.write_json(SETTINGS_FILE, settings)

    def _clear(self) -> None:
        for name in self.storage.files(self.folder):
            if name == LOCK_FILE:
                continue
            self.storage.delete_file(f"{self.folder}/{name}")
        for name in self.storage.folders(self.folder):
            if name != _POLICIES:
                self.storage.delete_folder(f"{self.folder}/{name}")


def _only_longer(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether the settings differ only in that ``max_iters`` has grown."""
    ended, ends = before.get("max_iters"), now.get("max_iters")
    return (
        isinstance(ended, int)
        and isinstance(ends, int)
        and ended < ends
        and before | {"max_iters": ends} == now
    )


def _filled(before: dict[str, Any], now: dict[str, Any], defaults: Any) -> dict[str, Any]:
    """What a run was started with, and the defaults of options that did not exist then."""
    filled = dict(before)
    for name in now.keys() & {option.name for option in fields(defaults)}:
        default = getattr(defaults, name)
        if name not in before:
            filled[name] = default
        elif is_dataclass(kind := type(default)) and isinstance(before[name], dict):
            # By their class: a recipe gives some of them values of its own.
            filled[name] = _filled(before[name], now[name], kind())
    return filled
