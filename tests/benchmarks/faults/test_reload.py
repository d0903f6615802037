from __future__ import annotations

import asyncio
import json

import pytest

from app.policies.bundled import read_bundled
from benchmarks.faults.reload import Options, Record, ask_and_publish, bodies, check
from benchmarks.support.load import Answer
from benchmarks.support.variants import variant
from tests.benchmarks.serving import serving
from training.policy.acting import Policy
from training.policy.published import PublishedPolicy
from training.store.policies import PolicyStore

*VARIANTS, STRANGER = (variant(number) for number in (1, 2, 3))
POLICIES = [read_bundled(), *VARIANTS]


def said(policy: PublishedPolicy, observation: int, sent: float, done: float) -> tuple[int, Answer]:
    actions = Policy.from_published(policy).act(bodies()[observation][None]).tolist()
    body = {"actions": actions, "policy": policy.manifest.version}
    return observation, Answer(200, json.dumps(body).encode(), sent, done)


def record(*asked: tuple[int, Answer]) -> Record:
    """Published at 10 and at 20, a tenth of a second each."""
    first, second = (policy.manifest.version for policy in VARIANTS)
    return Record(list(asked), {first: (10.0, 10.1), second: (20.0, 20.1)})


def test_variants_differ_and_their_numbers_name_them() -> None:
    assert VARIANTS[0].weights != VARIANTS[1].weights
    orders = [policy.manifest.order for policy in POLICIES]
    assert orders == sorted(orders)


def test_right_answers() -> None:
    verdict = check(
        record(
            said(POLICIES[0], 3, 5.0, 5.1),
            said(POLICIES[0], 4, 11.0, 11.1),
            said(POLICIES[1], 5, 10.6, 12.1),
            said(POLICIES[2], 6, 20.05, 20.3),
        ),
        POLICIES,
    )
    assert (verdict.failed, verdict.unknown, verdict.wrong, verdict.backwards) == ([], [], 0, 0)
    assert verdict.versions == 3
    assert verdict.superseded_s == pytest.approx(0.9)
    assert verdict.first_answer_s == pytest.approx(2.0)


def test_wrong_answers() -> None:
    other = Answer(200, said(POLICIES[1], 1, 12, 12.1)[1].body, 12, 12.1)
    verdict = check(
        record(
            (2, other),
            (1, Answer(503, b"busy", 13, 13.1)),
            said(STRANGER, 1, 13, 13.1),
            said(POLICIES[2], 1, 14, 14.1),
            said(POLICIES[2], 1, 21, 21.1),
            said(POLICIES[1], 1, 22, 22.1),
        ),
        POLICIES,
    )
    assert verdict.wrong == 1
    assert verdict.failed == ["503 b'busy'"]
    assert verdict.unknown == [STRANGER.manifest.version, POLICIES[2].manifest.version]
    assert verdict.backwards == 1


def test_everything_is_asked_and_published(tmp_path: object) -> None:
    async def run() -> Record:
        async with serving(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as port:
            return await ask_and_publish(Options(40, 2, 4), port, store, VARIANTS)

    store = PolicyStore.open(str(tmp_path))
    result = asyncio.run(run())
    assert len(result.asked) == 40
    assert list(result.published) == [policy.manifest.version for policy in VARIANTS]
    latest = store.latest_ref()
    assert latest is not None
    assert latest.version == VARIANTS[1].manifest.version
