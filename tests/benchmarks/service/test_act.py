from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.service.act import Measured, Measurements, Options, table, turned
from benchmarks.support.load import Result

RESULT = Result(answered=400, failed=0, seconds=4, p50_ms=9.5, p99_ms=20.25, own_ms=0.125, fault="")


def test_the_table_shows_medians_ratios_and_why_something_failed() -> None:
    slower = replace(RESULT, answered=200, failed=3, fault="503 b'busy'")
    faster = replace(RESULT, answered=600)
    measured = Measurements(
        rounds={
            ("ours", 8): [Measured(each, 2.5) for each in (RESULT, faster, slower)],
            ("fastapi", 8): [Measured(faster, 1.25)] * 3,
        },
        failures={"litserve": "it said nothing"},
        network_ms=[2.0, 1.0, 9.0],
    )
    options = Options(contenders=("ours", "fastapi", "litserve"), clients=(8,))
    head, line, ours, fastapi, litserve, *rest = table(options, measured).splitlines()
    assert {row.count("|") for row in (head, line, ours, fastapi, litserve)} == {10}
    assert ours.startswith("| this service | 8 | 100 (50–150) | 9.5 | 20.2 | 2.50 | 20% | 1.00 ×")
    assert ours.endswith("| 3 |")
    assert "| 150 (150–150) | 9.5 | 20.2 | 1.25 | 30% | 0.67 × as fast | 0 |" in fastapi
    assert litserve.startswith("| LitServe | 8 | not measured |")
    assert rest == ["", "LitServe: it said nothing", "this service: 503 b'busy'"]


def test_each_round_begins_with_another_one() -> None:
    orders = [turned(("a", "b", "c"), number) for number in range(4)]
    assert orders == [("a", "b", "c"), ("b", "c", "a"), ("c", "a", "b"), ("a", "b", "c")]


@pytest.mark.parametrize(
    "options",
    [
        {"contenders": ()},
        {"contenders": ("ours", "nginx")},
        {"clients": ()},
        {"clients": (8, 0)},
        {"rounds": 0},
        {"seconds": 0.0},
        {"cores": 0},
    ],
)
def test_what_cannot_be_measured_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="--"):
        Options(**options)  # type: ignore[arg-type]
