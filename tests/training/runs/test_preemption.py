"""What is done at SIGTERM; the signal itself is sent to a real run in test_survival.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from training.runs.preemption import PreemptedError, Preemption


def trial(name: str, *, iteration: int, stored: int, status: str = "RUNNING") -> Any:
    newest = SimpleNamespace(metrics={"training_iteration": stored}) if stored else None
    return SimpleNamespace(
        trial_id=name,
        status=status,
        latest_checkpoint_result=newest,
        last_result={"training_iteration": iteration},
    )


def tell(preemption: Preemption) -> None:
    """Send the signal, and wait until it is noted."""
    os.kill(os.getpid(), signal.SIGTERM)
    result: dict[str, Any] = {}
    while not result:
        preemption.on_trial_result(0, [], trial("a", iteration=1, stored=0), result)


def test_untold_nothing_happens() -> None:
    preemption = Preemption()
    result: dict[str, Any] = {}
    preemption.on_trial_result(0, [], trial("a", iteration=1, stored=0), result)
    preemption.on_step_begin(0, [])
    assert result == {}


def test_it_waits_for_every_running_trial_to_be_saved(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = trial("a", iteration=3, stored=2), trial("b", iteration=7, stored=6)
    waiting = trial("c", iteration=0, stored=0, status="PENDING")
    trials = [first, second, waiting]
    preemption = Preemption(save_s=1000, exit_s=1000)
    with preemption.listening():
        tell(preemption)
        preemption.on_step_begin(0, trials)
        result: dict[str, Any] = {}
        preemption.on_trial_result(0, trials, first, result)
        assert result == {"should_checkpoint": True}
        preemption.on_trial_save(0, trials, first)
        preemption.on_step_begin(0, trials)  # that save was of an earlier iteration
        first.latest_checkpoint_result.metrics["training_iteration"] = 3
        preemption.on_trial_save(0, trials, first)
        preemption.on_step_begin(0, trials)
        preemption.on_trial_complete(0, trials, second)
        with pytest.raises(PreemptedError):
            preemption.on_step_begin(0, trials)
    said = capsys.readouterr().out
    assert "told to end (SIGTERM): what runs (2 of 3 trials)" in said
    assert "a: saved after iteration 3" in said


def test_an_iteration_that_is_too_long_is_not_waited_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    running = trial("a", iteration=3, stored=2)
    preemption = Preemption(save_s=0, exit_s=1000)
    with preemption.listening():
        tell(preemption)
        with pytest.raises(PreemptedError):
            preemption.on_step_begin(0, [running])
    said = capsys.readouterr().out
    assert "a: it is not saved in time, and goes on from" in said
    assert "newest checkpoint, of iteration 2" in said


def test_where_nothing_runs_it_ends_at_once() -> None:
    preemption = Preemption(exit_s=1000)
    with preemption.listening():
        tell(preemption)
        with pytest.raises(PreemptedError):
            preemption.on_step_begin(0, [])


def test_afterwards_the_signal_is_what_it_was() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Preemption().listening():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_in_another_thread_there_is_no_signal_to_listen_to() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def listen() -> None:
        with Preemption().listening():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [before]


def run(body: str) -> subprocess.CompletedProcess[str]:
    """A process that listens and tells itself to end."""
    program = (
        "import os, signal, time\n"
        "from training.runs.preemption import PreemptedError, Preemption\n"
        "def tell(): os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program + body],
        capture_output=True,
        text=True,
        check=False,
    )


def test_told_twice_it_ends_at_once() -> None:
    # Signals that come at once may be one; so it goes on.
    done = run("with Preemption().listening():\n while True:\n  tell()\n  time.sleep(0.01)")
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stdout == ""


@pytest.mark.parametrize(
    "body",
    [
        "with Preemption(exit_s=0.5).listening():\n tell()\n time.sleep(300)",
        "try:\n with Preemption(exit_s=0.5).listening():\n  tell()\n"
        "  raise PreemptedError\nexcept PreemptedError: time.sleep(300)",
    ],
    ids=["at work", "on its way out"],
)
def test_what_hangs_is_not_waited_for_for_ever(body: str) -> None:
    done = run(body)
    assert done.returncode == 128 + signal.SIGTERM
    assert "not done in 0.5 s" in done.stdout


def test_a_run_that_came_to_its_end_all_the_same_is_not_ended() -> None:
    preemption = Preemption(exit_s=1000)
    with preemption.listening():
        tell(preemption)
    for thread in threading.enumerate():
        if thread.name == "SIGTERM":
            thread.join()
