"""A queue of storage operations with a thread of its own, so that training never waits for storage.

The thread is a daemon: a storage that hangs does not keep the process from ending.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from training.store.retrying import STORAGE_PATIENCE_S, pause_before

logger = logging.getLogger(__name__)


@dataclass
class _Operation:
    """An operation that is not done."""

    action: Callable[[], None]
    submitted_at: float
    """When this operation, or the first that it replaces, was submitted (monotonic)."""


class StorageQueue:
    """Runs operations one after the other, in the order in which they were submitted.

    An operation that raises an OSError goes to the end of the queue and is repeated with growing
    pauses. Any other error is raised by the next call of :meth:`submit` or :meth:`finish`.
    """

    def __init__(self, name: str) -> None:
        """Create an empty queue.

        Args:
            name: Of its thread.
        """
        self._name = name
        self._changed = threading.Condition()
        self._waiting: dict[str, _Operation] = {}
        self._running: tuple[str, _Operation] | None = None
        self._has_thread = False
        self._retry_now = False
        self._failures = 0
        """OSErrors in a row."""
        self._last_error: OSError | None = None
        self._bug: Exception | None = None

    @property
    def last_error(self) -> OSError | None:
        """The error of the last operation; None after a success."""
        with self._changed:
            return self._last_error

    def pending_s(self, key: str) -> float:
        """Seconds since the operation with this key was first submitted; 0 if it is done."""
        with self._changed:
            operation = self._pending(key)
            return time.monotonic() - operation.submitted_at if operation else 0.0

    def submit(self, key: str, action: Callable[[], None]) -> None:
        """Add an operation and return at once. It replaces one with the same key that waits.

        Args:
            key: Names the operation in the log: "progress.csv".
            action: It may be repeated, so it must be idempotent.

        Raises:
            Exception: An earlier operation raised something else than an OSError.
        """
        with self._changed:
            self._raise_bug()
            replaced = self._pending(key)
            submitted_at = replaced.submitted_at if replaced else time.monotonic()
            self._waiting[key] = _Operation(action, submitted_at)
            if not self._has_thread:
                self._has_thread = True
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait until all operations are done, without a pause before the next retry.

        Returns:
            Whether they are done.
        """
        with self._changed:
            self._retry_now = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._bug or self._is_idle(), timeout_s)
            return self._is_idle()

    def finish(self, timeout_s: float = STORAGE_PATIENCE_S) -> None:
        """Wait until all operations are done.

        Raises:
            OSError: Storage failed, or did not respond, for this long.
            Exception: An operation raised something else.
        """
        is_done = self.wait(timeout_s)
        with self._changed:
            self._raise_bug()
            if not is_done:
                keys = [*([self._running[0]] if self._running else []), *self._waiting]
                raise self._last_error or TimeoutError(
                    f"storage has not responded for {timeout_s:.0f} s: {', '.join(keys)}"
                )

    def _pending(self, key: str) -> _Operation | None:
        if key in self._waiting:
            return self._waiting[key]
        return self._running[1] if self._running and self._running[0] == key else None

    def _is_idle(self) -> bool:
        return not self._waiting and self._running is None

    def _raise_bug(self) -> None:
        if self._bug is not None:
            raise self._bug

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            key, operation = taken
            error: Exception | None = None
            try:
                operation.action()
            except Exception as raised:  # noqa: BLE001 - raised again in the caller's thread
                error = raised
            if not self._settle(key, operation, error):
                return

    def _take(self) -> tuple[str, _Operation] | None:
        """The next operation; None, and no thread any more, where there is none."""
        with self._changed:
            if self._failures:
                self._changed.wait_for(lambda: self._retry_now, pause_before(self._failures))
            self._retry_now = False
            if not self._waiting:
                self._has_thread = False
                return None
            key = next(iter(self._waiting))
            self._running = key, self._waiting.pop(key)
            return self._running

    def _settle(self, key: str, operation: _Operation, error: Exception | None) -> bool:
        """Note how an operation went; whether to go on."""
        with self._changed:
            self._running = None
            if error is None:
                self._failures, self._last_error = 0, None
            elif isinstance(error, OSError):
                self._failures += 1
                self._last_error = error
                self._waiting.setdefault(key, operation)
                logger.warning(
                    "%s: storage failed, next try in %.0f s: %s",
                    key,
                    pause_before(self._failures),
                    error,
                )
            else:
                self._bug = error
                self._has_thread = False
            self._changed.notify_all()
            return self._bug is None
