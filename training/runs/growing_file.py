"""A file in storage that is replaced by a longer one, again and again, while training goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from training.store.retrying import STORAGE_PATIENCE_S, patiently, pause_before
from training.store.storage import Storage

logger = logging.getLogger(__name__)

_WRITE_S: Final = 5.0
"""How long a write to storage that is well may take, until it is not waited for."""
_AGAIN_S: Final = 1.0
"""The same where storage refused the last one."""


class GrowingFile:
    """Writes the newest contents from a thread of its own: a storage that hangs holds up nobody.

    What storage refuses is tried again, more and more rarely, in its newest form.
    """

    def __init__(self, storage: Storage, relative: str) -> None:
        self.name = relative
        """The file's path below the root."""
        self._storage = storage
        self._changed = threading.Condition()
        self._next: bytes | None = None
        self._writing = False
        self._well = True
        self._refusals = 0
        self._refusal: OSError | None = None
        self._failure: Exception | None = None
        self._at_once = False

    def read(self) -> bytes | None:
        """Read the file from storage; None if there is none. Retries while storage fails.

        Raises:
            OSError: Storage failed for ``STORAGE_PATIENCE_S``.
        """

        def read() -> bytes | None:
            try:
                return self._storage.read(self.name)
            except FileNotFoundError:
                return None

        return patiently(read, f"reading {self.name}")

    def put(self, content: bytes) -> None:
        """Have these contents written; raises what was no refusal of storage, if something was."""
        with self._changed:
            if self._failure is not None:
                raise self._failure
            self._next = content
            if not self._writing:
                threading.Thread(target=self._write, name=self.name, daemon=True).start()
                self._writing = True

    def wait_briefly(self) -> bool:
        """Have it tried at once, and wait for a moment; whether all that was put is written."""
        with self._changed:
            refusals = self._refusals
            return self._wait(
                _WRITE_S if self._well else _AGAIN_S, unless=lambda: self._refusals > refusals
            )

    def finish(self, *, for_s: float = STORAGE_PATIENCE_S) -> None:
        """Wait until all that was put is written.

        Raises:
            OSError: Storage went on to refuse it for so many seconds, or did not answer.
            Exception: Something else went wrong in writing it.
        """
        with self._changed:
            written = self._wait(for_s)
            if self._failure is not None:
                raise self._failure
            if not written:
                raise self._refusal or TimeoutError(
                    f"{self.name} is not written after {for_s:.0f} s"
                )

    def _wait(self, seconds: float, *, unless: Callable[[], bool] = lambda: False) -> bool:
        if self._writing:
            self._at_once = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._writing or unless(), seconds)
            self._well = not self._writing
        return not self._writing and self._failure is None

    def _write(self) -> None:
        while (content := self._take()) is not None:
            try:
                self._storage.write(self.name, content)
            except OSError as error:
                self._put_back(content, error)
            except Exception as error:  # noqa: BLE001
                with self._changed:
                    self._failure = error
                    self._writing = False
                    self._changed.notify_all()
                return
            else:
                with self._changed:
                    self._well, self._refusals, self._refusal = True, 0, None

    def _take(self) -> bytes | None:
        """What is to be written; where nothing is, None, and this thread is no more counted on."""
        with self._changed:
            content, self._next = self._next, None
            self._at_once = False
            if content is None:
                self._writing = False
                self._changed.notify_all()
            return content

    def _put_back(self, content: bytes, error: OSError) -> None:
        """Keep what was refused, unless there is something newer, and pause."""
        with self._changed:
            if self._next is None:
                self._next = content
            self._well, self._refusal = False, error
            self._refusals += 1
            pause = pause_before(self._refusals)
            logger.warning(
                "%s could not be written, next try in %.0f s: %s", self.name, pause, error
            )
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._at_once, pause)
