"""A lock on a run: one process at a time writes to its folder, on a disk or in a bucket.

The lock is a lease: a small file in the run's folder that its owner renews from a thread. Buckets
offer no atomic "create if absent" through pyarrow, so the owner reads the lease back after writing
it, and again before each renewal: of two processes that write at the same time, the last one wins
and the other one stops.

A crash leaves no stale lock. On the same machine the lease names a temporary file that its owner
holds locked with ``flock``, and the kernel unlocks that when the process ends. On another machine
a lease that is not renewed for a minute is taken over. Clocks are not compared.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pydantic

from training.store.storage import Storage

logger = logging.getLogger(__name__)

LOCK_FILE = "lock.json"
_RELEASE_S = 2.0
"""How long storage may take to delete the lease when the run ends."""


class RunLockedError(Exception):
    """Another process trains this run; the message names it."""


@dataclass(frozen=True)
class Timing:
    """How long things take, in seconds."""

    renew: float = 10.0
    """Between renewals."""
    expire: float = 60.0
    """Without a renewal, after which a lease of another machine is taken over."""
    settle: float = 1.0
    """Between writing a lease and reading it back."""
    poll: float = 1.0
    """Between looks at a lease of another machine."""


class _Lease(pydantic.BaseModel, frozen=True):
    """The process that trains a run."""

    owner: str
    host: str
    pid: int
    process_file: str
    """A file on that host that the owner holds locked while it lives."""
    renewals: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def owner_lives_here(self) -> bool | None:
        """Whether the owner lives; None where it is not a process of this machine."""
        if self.owner not in self.process_file:
            return None
        try:
            descriptor = os.open(self.process_file, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        with suppress(OSError):
            Path(self.process_file).unlink()
        return False


class RunLock:
    """The lock on a run, see the module's docstring."""

    def __init__(self, storage: Storage, folder: str, *, timing: Timing | None = None) -> None:
        """Name the run's folder; nothing is locked yet."""
        self._storage = storage
        self._path = f"{folder}/{LOCK_FILE}"
        self._timing = timing or Timing()
        owner = uuid4().hex
        self._lease = _Lease(
            owner=owner,
            host=socket.gethostname(),
            pid=os.getpid(),
            process_file=str(Path(tempfile.gettempdir()) / f"carracing-{owner}.lock"),
        )
        self._taken_by: _Lease | None = None
        self._released = threading.Event()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock.

        Raises:
            RunLockedError: Another process holds it.
            StorageError: The lease cannot be read or written.
        """
        descriptor = self._lock_process_file()
        renewing = threading.Thread(target=self._renew, name=self._path, daemon=True)
        is_clean = True
        try:
            try:
                self._acquire()
            except OSError as error:
                raise self._storage.failure(error) from error
            renewing.start()
            try:
                yield
            finally:
                is_clean = self._release(renewing)
        finally:
            if is_clean:
                Path(self._lease.process_file).unlink(missing_ok=True)
            os.close(descriptor)

    def raise_if_lost(self) -> None:
        """Raise RunLockedError if another process has taken the run over."""
        if self._taken_by is not None:
            raise RunLockedError(
                f"{self._taken_by} has taken over the run in {self._storage.root!r}: this process "
                f"had not renewed {self._path} for {self._timing.expire:g} s. It stops here"
            )

    def _lock_process_file(self) -> int:
        descriptor = os.open(self._lease.process_file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor

    def _acquire(self) -> None:
        self._wait_until_free()
        self._write()
        time.sleep(self._timing.settle)
        found = self._owner(self._read())
        if found is None or found.owner != self._lease.owner:
            raise self._locked_by(found)

    def _wait_until_free(self) -> None:
        """Return where the run has no owner that lives; raise RunLockedError where it has one."""
        first = self._read()
        if first is None:
            return
        owner = self._owner(first)
        lives = owner.owner_lives_here() if owner else None
        if lives:
            raise self._locked_by(owner)
        if lives is False:
            return
        logger.info(
            "%s was locked by %s; waiting %.0f s to see whether it renews the lock",
            self._path,
            owner or "an unknown process",
            self._timing.expire,
        )
        deadline = time.monotonic() + self._timing.expire
        while time.monotonic() < deadline:
            time.sleep(self._timing.poll)
            found = self._read()
            if found is None:
                return
            if found != first:
                raise self._locked_by(self._owner(found))

    def _renew(self) -> None:
        while not self._released.wait(self._timing.renew):
            try:
                found = self._owner(self._read())
                if found is not None and found.owner != self._lease.owner:
                    self._taken_by = found
                    return
                self._lease = self._lease.model_copy(update={"renewals": self._lease.renewals + 1})
                self._write()
            except OSError as error:
                logger.warning("%s could not be renewed: %s", self._path, error)

    def _release(self, renewing: threading.Thread) -> bool:
        """Delete the lease; whether that is done. Storage that hangs is not waited for."""
        self._released.set()
        done = threading.Event()

        def delete() -> None:
            renewing.join()
            try:
                if self._taken_by is None:
                    self._storage.delete_file(self._path)
            except OSError as error:
                logger.warning("%s could not be deleted: %s", self._path, error)
            else:
                done.set()

        deleting = threading.Thread(target=delete, name=f"delete {self._path}", daemon=True)
        deleting.start()
        deleting.join(_RELEASE_S)
        return done.is_set()

    def _read(self) -> bytes | None:
        try:
            return self._storage.read(self._path)
        except FileNotFoundError:
            return None

    def _write(self) -> None:
        self._storage.write(self._path, self._lease.model_dump_json().encode())

    def _owner(self, content: bytes | None) -> _Lease | None:
        """What a lease says; None where there is none or it is damaged."""
        try:
            return _Lease.model_validate_json(content or b"")
        except pydantic.ValidationError:
            return None

    def _locked_by(self, owner: _Lease | None) -> RunLockedError:
        return RunLockedError(
            f"the run in {self._storage.root}/{self._path.removesuffix(f'/{LOCK_FILE}')} is being "
            f"trained by {owner or 'another process'}. Wait until it ends, stop it, or choose "
            "another --run-name"
        )
