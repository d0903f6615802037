from __future__ import annotations

from math import isnan

import pytest

from benchmarks.faults.aftermath import HEAD, judge_end, outcomes, sum_up
from benchmarks.support.steady import LOST, REFUSED, Call

# The fault is at 10, and all is whole at 14.
CALLS = [
    Call(9.0, 9.0, 9.1, ("200",)),
    Call(9.5, 9.5, 12.5, (LOST, REFUSED, "200"), failed_at=10.5),
    Call(11.0, 11.0, 15.5, ("503 later", "503 later"), failed_at=15.5),
    Call(14.5, 14.5, 15.0, ("200",)),
    Call(16.0, 16.0, 16.2, ("200",)),
]


def test_what_calls_around_a_fault_come_to() -> None:
    report = sum_up(CALLS, begin=10.0, whole=14.0)
    assert (report.requests, report.failed_raw, report.failed) == (5, 2, 1)
    assert report.how == "2 × 503 later, 1 × lost, 1 × refused"
    # It is not over before the last failure: what was due at 14.5 still belongs to it.
    assert report.p99_ms == pytest.approx((100.0, 500.0, 200.0))
    assert (report.failures_s, report.whole_s) == pytest.approx((5.5, 4.0))


def test_without_a_failure_it_is_over_once_all_is_whole() -> None:
    report = sum_up(
        [Call(9.0, 9.0, 9.1, ("200",)), Call(15.0, 15.0, 15.1, ("200",))], begin=10.0, whole=14.0
    )
    assert (report.failed_raw, report.failed, report.how) == (0, 0, "")
    assert (report.failures_s, report.whole_s) == (0.0, 4.0)
    assert isnan(report.p99_ms[1])
    row = report.row("a fault")
    assert row == "| a fault | 2 | 0 |  | 0 | 100 |  | 100 | 0.0 | 4.0 |"
    assert row.count("|") == HEAD.partition("\n")[0].count("|")


def test_outcomes_are_counted_attempt_by_attempt() -> None:
    assert outcomes([]) == ""
    assert outcomes(CALLS[:2]) == "1 × lost, 1 × refused"


def test_what_is_owed_to_requests_around_an_end() -> None:
    calls = [
        Call(9.0, 9.0, 11.0, ("200",)),
        Call(11.0, 11.0, 11.1, ("200",)),
        Call(11.2, 11.2, 11.3, ("503 later",), failed_at=11.3),
        Call(12.0, 12.0, 12.0, (REFUSED,), failed_at=12.0),
        # Its sender was late.
        Call(9.9, 10.1, 10.2, ("503 later",), failed_at=10.2),
    ]
    end = judge_end(calls, told=10.0)
    assert (end.answered, end.refused, end.failed) == (2, 3, [])
    owed = [
        Call(9.9, 9.9, 10.1, ("503 later",), failed_at=10.1),
        Call(9.9, 9.9, 10.1, (REFUSED,), failed_at=10.1),
        Call(12.0, 12.0, 12.1, (LOST,), failed_at=12.1),
        Call(12.0, 12.0, 12.1, (LOST,), failed_at=12.1),
        Call(12.0, 12.0, 12.1, ("500",), failed_at=12.1),
    ]
    end = judge_end([*calls, *owed], told=10.0)
    assert end.failed == ["503 later", REFUSED, LOST, LOST, "500"]
    assert end.sentence().endswith("5 failed, 2 × lost, 1 × 503 later, 1 × refused, 1 × 500")
