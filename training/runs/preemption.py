"""SIGTERM, the notice of a preemption: what runs is saved and published before the run ends.

Who sends it kills after a while, on most clouds after thirty seconds. What an iteration that is
longer than the patience here would have added is lost: the newest checkpoint must do.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT, TRAINING_ITERATION

from training.runs.chosen_checkpoint import stored_iteration

logger = logging.getLogger(__name__)

SAVE_S = 20.0
"""How long trials are given to end their iteration and to be saved."""
_EXIT_S = 27.0
"""After so long the process ends, whatever it is at."""


class PreemptedError(BaseException):
    """The run has been told to end, and everything is saved that could be.

    No Exception: at one of those Tune waits until its actors have ended.
    """


class Preemption(Callback):  # type: ignore[misc]
    """Ends the run when it is told to, with a checkpoint of every trial that was running."""

    def __init__(self, *, save_s: float = SAVE_S, exit_s: float = _EXIT_S) -> None:
        self._save_s = save_s
        self._exit_s = exit_s
        self._told_at: float | None = None
        self._waiting: set[str] | None = None
        self._leaving = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM as that notice; outside of the main thread, where none comes, do nothing.

        A thread takes it, for the main one may be busy for longer than there is time. Where it is
        left by PreemptedError, the process ends in time, whatever it does after that.
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
        """Note the first SIGTERM, end at the second, and end when the time is over."""
        while select.select([read], [], [], self._left_s())[0]:
            numbers = os.read(read, 64)
            if not numbers:  # nobody listens any more
                os.close(read)
                if not self._leaving:
                    return
                time.sleep(self._left_s() or 0.0)
                break
            for _ in range(numbers.count(signal.SIGTERM)):
                if self._told_at is not None:
                    os._exit(128 + signal.SIGTERM)
                self._told_at = time.monotonic()
        print(f"not done in {self._exit_s:g} s, it ends as it is", flush=True)
        os._exit(128 + signal.SIGTERM)

    def _left_s(self) -> float | None:
        """Seconds until the process must have ended; None while it has not been told to."""
        if self._told_at is None:
            return None
        return max(0.0, self._told_at + self._exit_s - time.monotonic())

    def on_step_begin(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        """Begin to wait for the trials, or end; raises PreemptedError."""
        del iteration
        if self._told_at is None:
            return
        running = [trial for trial in trials if trial.status == Trial.RUNNING]
        if self._waiting is None:
            self._waiting = {trial.trial_id for trial in running}
            print(
                f"told to end (SIGTERM): what runs ({len(running)} of {len(trials)} trials) is "
                f"saved after its iteration, if that ends within {self._save_s:g} s",
                flush=True,
            )
        late = time.monotonic() - self._told_at > self._save_s
        if self._waiting and not late:
            return
        for trial in trials:
            if trial.trial_id in self._waiting:
                print(
                    f"{trial.trial_id}: it is not saved in time, and goes on from its newest "
                    f"checkpoint, of iteration {stored_iteration(trial)}",
                    flush=True,
                )
        raise PreemptedError

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        """Have a checkpoint taken after this iteration."""
        del iteration, trials, trial
        if self._told_at is not None:
            result[SHOULD_CHECKPOINT] = True

    def on_trial_save(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """One trial less to wait for."""
        del iteration, trials
        if self._waiting and trial.trial_id in self._waiting:
            newest = stored_iteration(trial)
            if newest == trial.last_result[TRAINING_ITERATION]:
                self._waiting.discard(trial.trial_id)
                print(f"{trial.trial_id}: saved after iteration {newest}", flush=True)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: Any
    ) -> None:
        """One trial less to wait for."""
        del iteration, trials
        if self._waiting:
            self._waiting.discard(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """One trial less to wait for."""
        self.on_trial_complete(iteration, trials, trial)
