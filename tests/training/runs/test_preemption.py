"""What is done at SIGTERM; the signal itself is sent to a real run in test_survival.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from training.runs.preemption import PreemptedError, Preemption


class Actor:
    """A trial's process, whose checkpoints are of this iteration."""

    def __init__(self, iteration: int) -> None:
        self._iteration = iteration

    def checkpoint_and_hold(self, timeout_s: float) -> int:
        del timeout_s
        return self._iteration

    def hang(self) -> None:
        threading.Event().wait()


class FakeTrial:
    """What is used of a trial of Tune's."""

    def __init__(self, name: str, status: str, state: Any, iteration: int) -> None:
        self._name = name
        self.status = status
        self.temporary_state = state
        self.last_result = {"training_iteration": iteration}

    def __str__(self) -> str:
        return self._name


def trial(name: str, *, iteration: int, stored: int = 0, status: str = "RUNNING") -> Any:
    actor = ray.remote(num_cpus=0)(Actor).remote(stored) if status == "RUNNING" else None
    return FakeTrial(name, status, SimpleNamespace(ray_actor=actor), iteration)


def tell(preemption: Preemption) -> None:
    """Send the signal, and wait until it is noted."""
    os.kill(os.getpid(), signal.SIGTERM)
    while preemption._told_at is None:
        time.sleep(0.01)


def step_until_stopped(preemption: Preemption, trials: list[Any]) -> None:
    try:
        while True:
            preemption.on_step_begin(0, trials)
    except PreemptedError:
        return


def test_without_a_signal_nothing_happens() -> None:
    Preemption().on_step_begin(0, [trial("a", iteration=1, status="PENDING")])


@pytest.mark.usefixtures("ray_cluster")
def test_it_waits_for_a_checkpoint_of_every_running_trial(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = trial("a", iteration=2, stored=3), trial("b", iteration=7, stored=7)
    waiting = trial("c", iteration=0, status="PENDING")
    preemption = Preemption(save_s=1000, exit_s=1000)
    with preemption.listening():
        tell(preemption)
        said = ""
        while "b: its newest" not in said:
            preemption.on_step_begin(0, [first, second, waiting])
            said += capsys.readouterr().out
        assert "2 of 3 trials run" in said
        assert "a:" not in said, "the result of that iteration has not come"
        first.last_result["training_iteration"] = 3
        step_until_stopped(preemption, [first, second, waiting])
    assert "a: its newest checkpoint is of iteration 3" in capsys.readouterr().out


@pytest.mark.usefixtures("ray_cluster")
def test_a_trial_that_is_lost_meanwhile_is_not_waited_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lost = trial("a", iteration=3)
    ray.kill(lost.temporary_state.ray_actor)
    preemption = Preemption(save_s=1000, exit_s=1000)
    with preemption.listening():
        tell(preemption)
        step_until_stopped(preemption, [lost])
    assert "a: it has stored no checkpoint" in capsys.readouterr().out


@pytest.mark.usefixtures("ray_cluster")
def test_an_iteration_that_is_too_long_is_not_waited_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    running = trial("a", iteration=3)
    running.temporary_state.ray_actor.hang.remote()
    preemption = Preemption(save_s=0, exit_s=1000)
    with preemption.listening():
        tell(preemption)
        with pytest.raises(PreemptedError):
            preemption.on_step_begin(0, [running])
    assert "a: no checkpoint was stored in time" in capsys.readouterr().out


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
    assert "not stopped within 0.5 s" in done.stdout


def test_a_run_that_came_to_its_end_all_the_same_is_not_ended() -> None:
    preemption = Preemption(exit_s=1000)
    with preemption.listening():
        tell(preemption)
    for thread in threading.enumerate():
        if thread.name == "SIGTERM":
            thread.join()
