"""Drive many tracks at once, each in one of several processes.

An episode is the same to the bit whichever process drives it: each has one torch thread, and an
environment of its own for every track.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Final

import torch

from training.environment.actions import ActionFilter
from training.environment.observation import EPISODE_FRAMES
from training.evaluation.rollout import Episode, drive
from training.policy.acting import Policy
from training.policy.manifest import PolicyDescription

_POLICY: Final[ContextVar[Policy]] = ContextVar("policy")
"""The policy that drives in this process."""


class WorkerDiedError(Exception):
    """A process that drove is gone; the message says what may help."""


def drive_seeds(
    policy: Policy,
    seeds: Sequence[int],
    *,
    workers: int,
    max_frames: int = EPISODE_FRAMES,
    action_filter: ActionFilter | None = None,
    on_episode: Callable[[Episode], object] | None = None,
) -> list[Episode]:
    """Drive tracks greedily on the stock simulator.

    However it ends, no process is left behind; they end even if this one is killed.

    Args:
        policy: The policy that drives.
        seeds: The tracks; at least one.
        workers: Most processes to drive in.
        max_frames: Stop each episode after this many simulator frames.
        action_filter: Smoothing of the controls; None takes the policy's own.
        on_episode: Gets every episode once it is driven, in no order.

    Returns:
        An episode per seed, in their order.

    Raises:
        BrokenPolicyError: What the policy says is not finite.
        WorkerDiedError: A process was killed.
        ValueError: ``workers`` or ``max_frames`` is below 1.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; it must be at least 1")
    policy.warm_up()
    context = get_context("spawn")
    end, lifeline = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        min(workers, len(seeds)),
        mp_context=context,
        initializer=_begin,
        initargs=(policy.description, policy.weights, policy.version, end),
    )
    with end, lifeline, pool:
        try:
            with _interrupts_held():
                drives = [pool.submit(_drive, seed, max_frames, action_filter) for seed in seeds]
            for driven in as_completed(drives):
                episode = driven.result()
                if on_episode is not None:
                    on_episode(episode)
        except BrokenProcessPool as error:
            raise WorkerDiedError(
                "a process that drove has died, perhaps for want of memory: fewer workers take less"
            ) from error
        except BaseException:
            lifeline.close()
            raise
    return [driven.result() for driven in drives]


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back; processes that are started meanwhile never get it.

    It reaches every process of a terminal, and the parent is who ends the others.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(description: PolicyDescription, weights: bytes, version: str, end: Connection) -> None:
    """Get a process ready to drive."""
    threading.Thread(target=_end_with_parent, args=(end,), daemon=True).start()
    torch.set_num_threads(1)
    _POLICY.set(Policy.from_weights(description, weights, version=version))


def _end_with_parent(end: Connection) -> None:
    # Nothing is ever sent: the wait is over when the parent closes its end, or is gone.
    end.poll(None)
    os._exit(1)


def _drive(seed: int, max_frames: int, action_filter: ActionFilter | None) -> Episode:
    return drive(
        _POLICY.get(),
        seed,
        simulator="stock",
        max_frames=max_frames,
        action_filter=action_filter,
    )
