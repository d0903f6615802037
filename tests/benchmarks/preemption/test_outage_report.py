from __future__ import annotations

import math

import pytest

from benchmarks.preemption.killed_training import Looks
from benchmarks.preemption.outage_report import Outage, table
from benchmarks.preemption.run_ending import Ending


def borne() -> Outage:
    """Gone after iteration 5, back after 10; 11 is stored and published."""
    return Outage(
        gone_after=5,
        back_after=10,
        away_s=300.0,
        told=range(1, 15),
        stayed=True,
        policy_s=2.0,
        published_after=11,
        checkpoint_s=1.5,
        published={2, 4, 11, 12, 14},
        looks=Looks(100, 200),
        ending=Ending(8.0, 143, aggregate=(0, 0), own=(0, 0), saved=True),
    )


def test_an_absence_that_was_borne() -> None:
    outage = borne()
    assert outage.broken_promises() == []
    assert outage.trained() == (5, 5, 4)
    assert outage.unpublished() == ([], [6, 8, 10], [])
    assert table({"refused": outage}).splitlines()[:2] == [
        "| connections are | refused |",
        "|---|---|",
    ]


@pytest.mark.parametrize(
    ("published", "missing"),
    [
        ({2, 11, 12, 14}, ([4], [6, 8, 10], [])),
        ({2, 4, 11, 14}, ([], [6, 8, 10], [12])),
        ({2, 4, 6, 8, 10, 12, 14}, ([], [], [])),
    ],
)
def test_what_was_not_published(published: set[int], missing: tuple[list[int], ...]) -> None:
    outage = borne()
    outage.published = published
    assert outage.unpublished() == missing


def test_the_last_iteration_before_may_have_been_refused() -> None:
    outage = borne()
    outage.gone_after, outage.published = 4, {2, 11, 12, 14}
    assert outage.unpublished() == ([], [4, 6, 8, 10], [])


def test_a_short_absence_may_fall_into_one_iteration() -> None:
    outage = borne()
    outage.back_after, outage.away_s = 5, 10.0
    assert outage.broken_promises() == []


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("stayed", False, "did not live"),
        ("back_after", 5, "nothing was trained while"),
        ("back_after", 14, "nothing was trained after"),
        ("told", [*range(1, 15), 14], "1 iterations were trained again"),
        ("policy_s", math.inf, "no new policy"),
        ("checkpoint_s", math.inf, "no new checkpoint"),
        ("lost", ["v: gone"], "policies were lost: v: gone"),
        ("published", {2, 11, 12, 14}, "iterations [4] from before"),
        ("published", {2, 4, 11, 14}, "iterations [12] from after"),
        ("looks", Looks(100, 200, ["x"]), "1 broken looks"),
        ("looks", Looks(), "nobody looked"),
        ("ending", None, "not told to end"),
        ("ending", Ending(8.0, 143, (1, 0), (0, 0), saved=True), "(1, 0) of the run"),
    ],
)
def test_a_promise_that_is_broken_is_named(field: str, value: object, named: str) -> None:
    outage = borne()
    setattr(outage, field, value)
    (fault,) = outage.broken_promises()
    assert named in fault


def test_a_column_for_each_manner() -> None:
    dead = Outage(gone_after=5)
    rows = table({"refused": borne(), "hanging": dead}).splitlines()
    assert rows[0] == "| connections are | refused | hanging |"
    assert "| the process lived on | yes | no |" in rows
    assert rows[-1].endswith("status, saved and published | 8.0, 143, yes | – |")
