from __future__ import annotations

import pytest

from benchmarks.preemption.__main__ import Options, resumption


@pytest.mark.parametrize(
    ("before", "after", "lost", "restored"),
    [
        (7, [8, 9], 0, 7),
        (7, [7, 8], 1, 6),
        (8, [7, 8, 9], 2, 6),
        (7, [8, 7, 8], 2, 6),  # one was on its way when the trial was killed
        (10, [11, 9], 3, 8),
        (7, [], 0, 7),
    ],
)
def test_iterations_that_are_trained_again(
    before: int, after: list[int], lost: int, restored: int
) -> None:
    assert resumption(before, after) == (lost, restored)


@pytest.mark.parametrize("options", [{"kills": 1}, {"longest_s": 0.0}])
def test_what_says_nothing_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="--kills must be at least 2, and --longest-s above 0"):
        Options(**options)  # type: ignore[arg-type]
