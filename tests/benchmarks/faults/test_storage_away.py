from __future__ import annotations

import asyncio
import json
import sys

import pytest

from benchmarks.faults import storage_away
from benchmarks.faults.storage_away import (
    ALWAYS,
    NEEDS_STORAGE,
    Options,
    Record,
    describe,
    main,
    observe,
)
from benchmarks.support.load import Answer
from tests.benchmarks.serving import serving


def said(policy: str, sent: float, done: float, status: int = 200) -> Answer:
    return Answer(status, json.dumps({"policy": policy}).encode(), sent, done)


def record() -> Record:
    """Away from 10 to 20; the newest policy answers at 21.5, and an older one once more."""
    fine = {path: [(200, 0.1)] for path in ALWAYS}
    needy = {NEEDS_STORAGE[0]: [(200, 0.1), (503, 5.0)], NEEDS_STORAGE[1]: [(503, 0.2)]}
    acted = [said("old", 1, 1.01), said("old", 11, 11.02), said("old", 21, 21.1)]
    acted += [said("new", 21.4, 21.5), said("old", 21.9, 22.0), said("new", 22, 22.1)]
    return Record(acted, fine | needy, away_at=10.0, back_at=20.0, newest="new")


def test_what_an_absence_comes_to() -> None:
    result = record()
    assert result.failures() == []
    assert len(result.queries(away=False)) == len(result.queries(away=True)) == 1
    assert result.until_newest_s() == (1.5, 2.0)
    assert describe("refused", result) == (
        "| refused | 10 | 6 | 1 | 0 | 10 / 20 ms | 2, 5.0 s | 1.5 s / 2.0 s |"
    )


def test_what_should_not_fail_is_told() -> None:
    result = record()
    result.acted.append(said("old", 12, 13, status=503))
    result.others[ALWAYS[1]].append((0, 1.0))
    assert [fault.partition(" ")[0] for fault in result.failures()] == ["/act", ALWAYS[1]]


def test_a_policy_that_never_answers_is_never_there() -> None:
    result = record()
    result.newest = "newer"
    assert result.until_newest_s()[0] == float("inf")
    assert result.broken_promises() == ["the newest policy never answered"]


@pytest.mark.parametrize(
    ("path", "answer", "named"),
    [
        (ALWAYS[0], (503, 0.1), f"1 queries, films or looks at health failed: {ALWAYS[0]} 503"),
        (NEEDS_STORAGE[0], (500, 0.1), f"neither 200 nor 503: {NEEDS_STORAGE[0]} 500"),
        (NEEDS_STORAGE[1], (0, 0.1), f"neither 200 nor 503: {NEEDS_STORAGE[1]} 0"),
        (NEEDS_STORAGE[1], (503, 15.5), f"longer than 15 s: {NEEDS_STORAGE[1]} 15.5 s"),
    ],
)
def test_a_promise_that_is_broken_is_named(
    path: str, answer: tuple[int, float], named: str
) -> None:
    result = record()
    assert result.broken_promises() == []
    result.others[path].append(answer)
    (fault,) = result.broken_promises()
    assert named in fault


def test_the_exit_status_says_whether_all_held(monkeypatch: pytest.MonkeyPatch) -> None:
    records = {"refused": record(), "hanging": record()}
    monkeypatch.setattr(sys, "argv", ["storage_away"])
    monkeypatch.setattr(storage_away, "carry_out", lambda _: records)
    main()
    records["hanging"].newest = "newer"
    with pytest.raises(SystemExit, match="connections hanging: the newest policy never answered"):
        main()


def test_everything_goes_on_until_the_newest_policy_alone_answers() -> None:
    steps: list[str] = []

    def answer(_: bytes) -> bytes:
        body = said("new" if "back" in steps else "old", 0, 0).body
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    def publish() -> str:
        steps.append("publish")
        return "new"

    async def run() -> Record:
        async with serving(answer) as port:
            return await observe(
                Options(minutes=0.005, clients=2, pause_s=0.01),
                port,
                lambda: steps.append("leave"),
                publish,
                lambda: steps.append("back"),
            )

    result = asyncio.run(run())
    assert steps == ["leave", "publish", "back"]
    assert result.failures() == []
    assert result.queries(away=False)
    assert result.queries(away=True)
    assert all(result.others.values())
    assert result.until_newest_s()[0] < float("inf")


@pytest.mark.parametrize("wrong", [{"minutes": 0}, {"clients": 0}, {"pause_s": -1}])
def test_what_cannot_be_measured_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        Options(**wrong)  # type: ignore[arg-type]
