"""Publish policies while clients ask for actions, and check every response.

python -m benchmarks.faults.reload
python -m benchmarks.faults.reload --requests 2000 --policies 5     a quick look
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
import torch
import tyro
import uvloop

from app.policies.bundled import read_bundled
from benchmarks.support.load import Answer, client, post
from benchmarks.support.running import NPY, OURS, running, to_npy
from benchmarks.support.variants import variant
from training.policy.acting import Policy
from training.policy.published import PublishedPolicy
from training.store.policies import PolicyStore

_OBSERVATIONS = 16


@dataclass(frozen=True)
class Options:
    """What is published and asked."""

    requests: int = 50_000
    """Requests of all clients together."""
    policies: int = 100
    """Policies that are published meanwhile, evenly."""
    clients: int = 8
    """Clients that ask again at once."""
    poll_interval_s: float = 0.5
    """How often the service looks for a newer policy."""

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        if min(self.requests, self.policies, self.clients) < 1:
            raise ValueError("--requests, --policies and --clients must be above 0")


@dataclass
class Record:
    """Everything that was asked, answered and published."""

    asked: list[tuple[int, Answer]] = field(default_factory=list)
    """Which observation, and what was answered."""
    published: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Version → when its publication began, and when it was complete; oldest first."""


@dataclass
class Verdict:
    """What came out."""

    failed: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """Versions that were never published, or not yet."""
    wrong: int = 0
    """Actions other than the named version's."""
    superseded_s: float = 0.0
    """The longest that a policy had had a successor when it was still asked and answered."""
    first_answer_s: float = 0.0
    """The longest from a publication to its first answer."""
    versions: int = 0
    """Versions that answered."""
    backwards: int = 0
    """Requests that an older version answered, sent after a newer one had answered."""


def bodies() -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """The observations that are asked for."""
    shape = read_bundled().manifest.pipeline.observation_shape
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, shape, np.uint8) for _ in range(_OBSERVATIONS)]


async def ask_and_publish(
    options: Options, port: int, store: PolicyStore, policies: list[PublishedPolicy]
) -> Record:
    """Ask from all clients until all is asked, and publish all policies meanwhile."""
    record = Record()
    requests = [post("/act", to_npy(body), NPY) for body in bodies()]
    choices = random.Random(0)  # noqa: S311
    count = 0

    def until_all_are_asked(chosen: list[int]) -> Iterator[bytes]:
        nonlocal count
        while count < options.requests:
            count += 1
            chosen.append(choices.randrange(len(requests)))
            yield requests[chosen[-1]]

    async def ask() -> None:
        chosen: list[int] = []
        answers: list[Answer] = []
        await client(port, until_all_are_asked(chosen), answers.append)
        record.asked += zip(chosen, answers, strict=True)

    async def publish() -> None:
        for number, policy in enumerate(policies):
            while count < options.requests * (number + 0.5) / len(policies):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            began = time.perf_counter()
            await asyncio.to_thread(store.publish, policy.manifest, policy.weights)
            record.published[policy.manifest.version] = (began, time.perf_counter())

    async with asyncio.TaskGroup() as group:
        group.create_task(publish())
        for _ in range(options.clients):
            group.create_task(ask())
    return record


def check(record: Record, policies: list[PublishedPolicy]) -> Verdict:
    """Compare every answer with the offline actions, and with when things happened.

    Args:
        record: What happened.
        policies: All that could answer, oldest first; the first one from the beginning.
    """
    verdict = Verdict()
    versions = [policy.manifest.version for policy in policies]
    observations = np.stack(bodies())
    actions = {
        policy.manifest.version: np.concatenate(
            [Policy.from_published(policy).act(one[None]) for one in observations]
        )
        for policy in policies
    }
    order = {version: number for number, version in enumerate(versions)}
    complete = [0.0, *(done for _, done in record.published.values())]
    begun = [0.0, *(began for began, _ in record.published.values())]
    first: dict[int, float] = {}
    known: list[tuple[Answer, int]] = []
    for observation, answer in record.asked:
        if answer.status != 200:
            verdict.failed.append(f"{answer.status} {answer.body[:200]!r}")
            continue
        said = json.loads(answer.body)
        number = order.get(said["policy"])
        if number is None or answer.done < begun[number]:
            verdict.unknown.append(said["policy"])
            continue
        offline = actions[said["policy"]][observation]
        verdict.wrong += not np.array_equal(np.float32(said["actions"][0]), offline)
        known.append((answer, number))
        first[number] = min(first.get(number, answer.done), answer.done)
        if number + 1 < len(complete):
            late = answer.sent - complete[number + 1]
            verdict.superseded_s = max(verdict.superseded_s, late)
    verdict.versions = len(first)
    verdict.first_answer_s = max(
        (first[number] - complete[number] for number in first if number), default=0.0
    )
    known.sort(key=lambda each: each[0].done)
    done = [answer.done for answer, _ in known]
    newest = list(accumulate((number for _, number in known), max))
    for answer, number in known:
        before = bisect_left(done, answer.sent)
        verdict.backwards += before > 0 and newest[before - 1] > number
    return verdict


def main() -> None:
    """Ask, publish, check, and print what came out."""
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(1)
    policies = [variant(number + 1) for number in range(options.policies)]
    polls = {"CARRACING_POLL_INTERVAL_S": str(options.poll_interval_s)}
    with (
        running(OURS, polls) as server,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        store = PolicyStore.open(str(server.store))
        begin = time.perf_counter()
        record = runner.run(ask_and_publish(options, server.port, store, policies))
        seconds = time.perf_counter() - begin
    verdict = check(record, [read_bundled(), *policies])
    print(f"\n{len(record.asked):,} requests of {options.clients} clients in {seconds:.0f} s,")
    every = f"{options.poll_interval_s:g} s"
    print(f"{len(record.published)} policies published, looked for every {every}\n")
    print("| what | how many |")
    print("|---|---|")
    print(f"| failed requests | {len(verdict.failed)} |")
    print(f"| answers from an unknown version | {len(verdict.unknown)} |")
    print(f"| actions other than the named version's, offline | {verdict.wrong} |")
    print(f"| versions that answered, the first one included | {verdict.versions} |")
    print(f"| older answers to requests sent after a newer one | {verdict.backwards} |")
    print(f"| longest from a publication to its first answer | {verdict.first_answer_s:.2f} s |")
    print(
        f"| longest that a policy still answered with a successor | {verdict.superseded_s:.2f} s |"
    )
    for fault in verdict.failed[:5]:
        print(f"\nfailed: {fault}")


if __name__ == "__main__":
    main()
