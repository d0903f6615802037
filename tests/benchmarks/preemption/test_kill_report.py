from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.preemption.kill_report import Recovered, Report
from benchmarks.preemption.killed_training import Looks
from benchmarks.preemption.kills import Kill
from benchmarks.preemption.run_ending import Ending

ANY = Kill("whole cluster", "any")
WELL = Ending(8.0, 143, aggregate=(0, 0), own=(0, 0), saved=True)


def kept() -> Report:
    return Report(
        recovered=[Recovered(ANY, True, 2, seconds=10.0), Recovered(ANY, True, 0, seconds=12.0)],
        looks=Looks(100, 200),
        changes=[-3.0, 5.0],
        ending=WELL,
    )


def test_promises_that_are_kept() -> None:
    assert kept().broken_promises() == []
    assert "| resumed | 2 of 2 |" in kept().table()
    assert "were repeated | 0 |" in kept().table()
    assert "on 8 tracks | +1.0 ± 4.0 |" in kept().table()
    assert "| whole cluster | at any moment | 2 | – | 2 | 2 | 11.0 |" in kept().table()
    assert "status, saved and published | 8.0, 143, yes |" in kept().table()


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("recovered", [Recovered(ANY, True)], "0 of 1 resumed"),
        ("recovered", [Recovered(ANY, True, 3)], "3 iterations lost"),
        ("looks", Looks(1, 1, ["x"]), "1 broken looks"),
        ("changes", [-10.0, -11.0], "policies fell: -10.5 ± 0.5"),
        ("changes", [-10.0], "not measured"),
        ("ending", replace(WELL, saved=False), "did not save"),
        ("ending", None, "not told to end"),
    ],
)
def test_a_promise_that_is_broken_is_named(field: str, value: object, named: str) -> None:
    report = kept()
    setattr(report, field, value)
    (fault,) = report.broken_promises()
    assert named in fault
    report.table()


def test_starts_that_were_repeated_are_told_with_their_reasons() -> None:
    report = kept()
    report.retries = ["timed out", "no GCS", "timed out"]
    assert "were repeated | 2 × timed out; 1 × no GCS |" in report.table()


def test_nothing_is_said_of_policies_that_were_not_measured() -> None:
    report = kept()
    report.changes = []
    assert "on 8 tracks | not measured |" in report.table()
