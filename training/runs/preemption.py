"""Stops a run gracefully at SIGTERM: every running trial takes a checkpoint first.

Most clouds kill a process thirty seconds after SIGTERM. An iteration that takes longer than the
time limit here is lost, and its trial continues from an older checkpoint.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.result import TRAINING_ITERATION

SAVE_S = 20.0
"""Seconds that trials have to end their iteration and to store a checkpoint."""
_EXIT_S = 27.0
"""Seconds after SIGTERM at which the process ends in any case."""


class PreemptedError(BaseException):
    """The run was stopped by SIGTERM, and its trials have taken their checkpoints.

    It is not an Exception: after one of those, Tune waits until its actors have ended.
    """


class Preemption(Callback):  # type: ignore[misc]
    """Stops the run at SIGTERM, after a checkpoint of every trial that is running."""

    def __init__(self, *, save_s: float = SAVE_S, exit_s: float = _EXIT_S) -> None:
        self._save_s = save_s
        self._exit_s = exit_s
        self._told_at: float | None = None
        self._pending: dict[Trial, ray.ObjectRef[int]] | None = None
        self._leaving = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle SIGTERM inside the block; does nothing outside of the main thread.

        A thread waits for the signal, because the main one may be busy for too long. After a
        PreemptedError the thread ends the process when the time is over.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        read, write = os.pipe()
        os.set_blocking(write, False)
        handler = signal.signal(signal.SIGTERM, lambda *_: None)
        descriptor = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, args=(read,), name="SIGTERM", daemon=True).start()
        try:
            yield
        except PreemptedError:
            self._leaving = True
            raise
        finally:
            signal.set_wakeup_fd(descriptor)
            signal.signal(signal.SIGTERM, handler)
            os.close(write)

    def _listen(self, read: int) -> None:
        """Note the first SIGTERM; end the process at the second one, or when the time is over."""
        while select.select([read], [], [], self._left_s())[0]:
            numbers = os.read(read, 64)
            if not numbers:  # the block was left
                os.close(read)
                if not self._leaving:
                    return
                time.sleep(self._left_s() or 0.0)
                break
            for _ in range(numbers.count(signal.SIGTERM)):
                if self._told_at is not None:
                    os._exit(128 + signal.SIGTERM)
                self._told_at = time.monotonic()
        print(f"not stopped within {self._exit_s:g} s of SIGTERM; the process ends now", flush=True)
        os._exit(128 + signal.SIGTERM)

    def _left_s(self) -> float | None:
        """Seconds until the process must have ended; None before SIGTERM."""
        if self._told_at is None:
            return None
        return max(0.0, self._told_at + self._exit_s - time.monotonic())

    def on_step_begin(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        """Ask all trials that run for a checkpoint, once; raises PreemptedError after the last."""
        del iteration
        if self._told_at is None:
            return
        if self._pending is None:
            self._pending = {
                trial: trial.temporary_state.ray_actor.checkpoint_and_hold.remote(self._save_s)
                for trial in trials
                if trial.status == Trial.RUNNING
            }
            print(
                f"stopping at SIGTERM: {len(self._pending)} of {len(trials)} trials run, and take "
                f"a checkpoint after their iteration if that ends within {self._save_s:g} s",
                flush=True,
            )
        for trial, call in list(self._pending.items()):
            if ray.wait([call], timeout=0)[0] and self._is_settled(trial, call):
                del self._pending[trial]
        is_late = time.monotonic() - self._told_at > self._save_s
        if self._pending and not is_late:
            return
        for trial in self._pending:
            print(
                f"{trial}: no checkpoint was stored in time; it will continue from an older one",
                flush=True,
            )
        raise PreemptedError

    def _is_settled(self, trial: Trial, call: ray.ObjectRef[int]) -> bool:
        """Whether a trial's checkpoint is stored, and the result of its iteration has come too."""
        try:
            stored = ray.get(call)
        except RayError as error:
            print(f"{trial}: it has stored no checkpoint: {error}", flush=True)
            return True
        if trial.last_result.get(TRAINING_ITERATION, 0) < stored:
            return False
        print(f"{trial}: its newest checkpoint is of iteration {stored}", flush=True)
        return True
