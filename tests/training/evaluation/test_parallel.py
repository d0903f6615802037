"""Driving in processes: the same episodes as anywhere, and no process left behind."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import PIPELINE, SMALL_NETWORK, build_actor, build_policy
from training.environment.actions import ActionFilter
from training.evaluation.parallel import WorkerDiedError, drive_seeds
from training.evaluation.rollout import Episode, drive
from training.policy.acting import Policy
from training.policy.manifest import PolicyDescription
from training.policy.published import BrokenPolicyError

FRAMES = 60
LONG = range(5000)
"""Tracks that take longer than a test may."""


@pytest.fixture(scope="module")
def driver() -> Policy:
    """A policy that gives gas and steers by what it sees."""
    return build_policy(
        build_actor(seed=1, means=(0, 0.6, -1)), action_filter=ActionFilter(steer_clip=0.5)
    )


def beta_driver() -> Policy:
    """A policy as a checkpoint gives it, of the other distribution and mapping."""
    description = PolicyDescription(
        pipeline=PIPELINE,
        network=dataclasses.replace(SMALL_NETWORK, distribution="beta"),
        action_mapping="steering_and_pedal",
        action_filter=ActionFilter(),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Policy(description, description.build_actor(), version="checkpoint")


def test_episodes_are_the_same_to_the_bit_however_many_drive(driver: Policy) -> None:
    seeds = [5, 3, 4]
    announced: list[int] = []
    one = drive_seeds(driver, seeds, workers=1, max_frames=FRAMES)
    two = drive_seeds(
        driver,
        seeds,
        workers=2,
        max_frames=FRAMES,
        on_episode=lambda episode: announced.append(episode.seed),
    )
    assert sorted(announced) == sorted(seeds)
    for seed, a, b in zip(seeds, one, two, strict=True):
        assert a.seed == seed
        assert a.frames == FRAMES
        assert abs(a.actions[:, 0]).max() <= 0.5
        for field in dataclasses.fields(Episode):
            np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))
    assert not active_children()


def test_a_policy_needs_no_manifest_and_may_have_another_distribution() -> None:
    policy = beta_driver()
    (driven,) = drive_seeds(policy, [3], workers=4, max_frames=FRAMES)
    here = drive(policy, 3, max_frames=FRAMES)
    np.testing.assert_allclose(driven.actions, here.actions, rtol=0, atol=1e-5)
    assert driven.tiles == here.tiles


def test_a_worker_s_death_is_told(driver: Policy) -> None:
    def kill(_: Episode) -> None:
        for child in active_children():
            child.kill()

    with pytest.raises(WorkerDiedError, match="fewer workers"):
        drive_seeds(driver, LONG, workers=1, max_frames=FRAMES, on_episode=kill)
    assert not active_children()


def test_ctrl_c_ends_the_workers(driver: Policy) -> None:
    def interrupt(_: Episode) -> None:
        signal.raise_signal(signal.SIGINT)

    # Ray leaves a handler of its own in a process that has started it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            drive_seeds(driver, LONG, workers=1, max_frames=FRAMES, on_episode=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not active_children()


def test_ctrl_c_is_for_the_parent_alone_from_the_first_moment(driver: Policy) -> None:
    def interrupt_the_first() -> None:
        while not (children := active_children()):
            time.sleep(0.001)
        os.kill(children[0].pid or 0, signal.SIGINT)

    with ThreadPoolExecutor(1) as threads:
        interrupted = threads.submit(interrupt_the_first)
        (driven,) = drive_seeds(driver, [3], workers=1, max_frames=FRAMES)
    interrupted.result()
    assert driven.frames == FRAMES


def test_workers_end_when_their_parent_is_killed() -> None:
    script = (
        "from tests.conftest import build_policy\n"
        "from training.evaluation.parallel import drive_seeds\n"
        f"drive_seeds(build_policy(), range(5000), workers=1, max_frames={FRAMES},\n"
        "            on_episode=lambda _: print('driven', flush=True))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=Path(__file__).resolve().parents[3],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "driven\n" in process.stdout
        process.kill()
        # The worker has this pipe too: it ends when both have.
        process.communicate()


def test_a_policy_that_says_no_numbers_is_refused_before_anything_starts() -> None:
    actor = build_actor()
    with torch.no_grad():
        next(actor.parameters()).fill_(float("nan"))
    policy = Policy(build_policy().description, actor, version="broken")
    with pytest.raises(BrokenPolicyError, match="not finite"):
        drive_seeds(policy, [1], workers=1)


@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers_are_refused(driver: Policy, workers: int) -> None:
    with pytest.raises(ValueError, match=f"workers is {workers}"):
        drive_seeds(driver, [1], workers=workers)
