"""SIGTERM, the notice of a preemption: what runs is saved and published before the run ends.

Who sends it kills after a while, on most clouds after thirty seconds. What an iteration that is
longer than the patience here would have added is lost: the newest checkpoint must do.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT, TRAINING_ITERATION

from training.recovery import stored_iteration

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

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM as that notice; outside of the main thread, where none comes, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._told_at is not None:
            # Told twice: at once.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._told_at = time.monotonic()
        last = threading.Timer(self._exit_s, self._end)
        last.daemon = True
        last.start()

    def _end(self) -> None:
        print(f"storage or Ray did not answer in {self._exit_s:g} s; it ends as it is", flush=True)
        os._exit(128 + signal.SIGTERM)

    def on_step_begin(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        """Begin to wait for the trials, or end; raises PreemptedError."""
        del iteration
        if self._told_at is None:
            return
        running = [trial for trial in trials if trial.status == Trial.RUNNING]
        if self._waiting is None:
            self._waiting = {trial.trial_id for trial in running}
            print(
                f"told to end (SIGTERM): {len(running)} running trials are saved after their "
                f"iteration, if that ends within {self._save_s:g} s",
                flush=True,
            )
        late = time.monotonic() - self._told_at > self._save_s
        if self._waiting and not late:
            return
        for trial in trials:
            if trial.trial_id in self._waiting:
                print(
                    f"{trial.trial_id}: its iteration is too long to wait for; it goes on from "
                    f"its newest checkpoint, of iteration {stored_iteration(trial)}",
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
