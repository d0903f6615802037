from __future__ import annotations

from itertools import pairwise

import pytest

from app.client.retries import ATTEMPTS, PAUSE_S, least_pause_s, pause_s
from app.problems import PROBLEM_JSON


def test_pauses_grow_and_are_a_minute_and_a_half_in_all() -> None:
    pauses = [pause_s(failed) for failed in range(1, ATTEMPTS)]
    assert pauses[0] < 0.2
    assert all(later > 1.5 * earlier for earlier, later in pairwise(pauses[:6]))
    assert 80 < sum(pauses) < 110


def test_no_pause_is_shorter_than_the_service_asks_for_nor_are_all_the_same() -> None:
    pauses = {pause_s(1, 3.0) for _ in range(100)}
    assert 3.0 <= min(pauses) < max(pauses) <= 4.0
    assert len(pauses) > 50


@pytest.mark.parametrize(
    ("status", "headers", "least_s"),
    [
        (503, {"retry-after": "7", "content-type": PROBLEM_JSON}, 7.0),
        (429, {"retry-after": "0"}, 0.0),
        (503, {}, PAUSE_S),
        (503, {"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, PAUSE_S),
        (500, {"content-type": "text/plain"}, 0.0),
        (502, {"content-type": "text/html"}, 0.0),
        (502, {}, 0.0),
        (500, {"content-type": PROBLEM_JSON}, None),
        (504, {}, None),
        (404, {"content-type": "text/plain"}, 0.0),
    ],
)
def test_which_answers_are_worth_another_attempt(
    status: int, headers: dict[str, str], least_s: float | None
) -> None:
    assert least_pause_s(status, headers) == least_s
