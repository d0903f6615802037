from __future__ import annotations

from benchmarks.batching import handover_ms, table


def test_what_a_batch_would_save_of_a_request() -> None:
    lines = table(4.0, 0.2, {1: 1.0, 4: 3.0}).splitlines()
    assert lines[2:4] == [
        "| 1 | 1.000 | 1.00 | 0.000 ms, 0% |",
        "| 4 | 0.750 | 3.00 | 0.400 ms, 10% |",
    ]
    assert "4.00 ms: 25% of it are the network's, and 5% handing" in lines[-1]


def test_handing_over_takes_time_however_short_it_is_measured() -> None:
    assert handover_ms(0.0) > 0
