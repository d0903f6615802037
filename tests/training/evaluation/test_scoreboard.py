from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from tests.conftest import build_policy
from training.environment.actions import ActionFilter
from training.environment.seeds import SCORE_SEEDS
from training.evaluation.rollout import Episode
from training.evaluation.scoreboard import Scoreboard, describe


def episode(seed: int, score: float, *, lap_finished: bool = True) -> Episode:
    return Episode(
        seed=seed,
        score=score,
        frames=900,
        lap_finished=lap_finished,
        tiles=300,
        tiles_missed=0 if lap_finished else 12,
        actions=np.zeros((225, 3), np.float32),
        rewards=np.zeros(225),
    )


def board(scores: Sequence[float], first: int = 0) -> Scoreboard:
    return Scoreboard(
        [
            episode(seed, score, lap_finished=score > 850)
            for seed, score in enumerate(scores, start=first)
        ]
    )


def test_the_statistics_are_those_of_the_scores() -> None:
    scores = board([900, 920, 700, 800])
    assert scores.mean == 830
    assert scores.median == 850
    assert scores.std == pytest.approx(np.std(scores.scores, ddof=1))
    assert (scores.worst.seed, scores.worst.score) == (2, 700)
    assert scores.laps_finished == 0.5
    assert scores.low == 0.25, "800 itself is not below 800"


def test_the_interval_is_that_of_the_mean() -> None:
    rng = np.random.default_rng(1)
    scores = board(rng.normal(900, 20, 400).tolist())
    low, high = scores.interval
    assert low < scores.mean < high
    assert high - low == pytest.approx(2 * 1.96 * scores.std / 20, rel=0.05)
    assert scores.interval == (low, high)


def test_the_interval_reaches_towards_the_bad_tracks() -> None:
    scores = board([900.0] * 97 + [0.0] * 3)
    low, high = scores.interval
    assert scores.mean - low > high - scores.mean > 0


def test_equal_scores_leave_no_doubt() -> None:
    assert board([900.0] * 5).interval == (900, 900)


def test_only_the_own_tracks_are_comparable() -> None:
    scores = [900.0] * len(SCORE_SEEDS)
    assert board(scores, SCORE_SEEDS.start).comparable
    assert not board(scores, SCORE_SEEDS.start + 1).comparable
    assert not board(scores[:-1], SCORE_SEEDS.start).comparable


def test_the_lines_say_all_that_counts() -> None:
    text = "\n".join(board([900, 920, 700, 800]).lines())
    for part in (
        *("830.0 ± 101.3", "4 tracks", "bootstrap", "850.0", "700.0", "seed 2", "50%", "25%"),
        *("not comparable", "1000000"),
    ):
        assert part in text
    own = board([900.0, 700.0] * 50, SCORE_SEEDS.start)
    assert "not comparable" not in "\n".join(own.lines())


def test_the_report_is_json_that_tells_everything() -> None:
    policy = build_policy(action_filter=ActionFilter(smooth_alpha=0.5))
    scores = board([900, 700])
    told = json.loads(json.dumps(scores.report(policy, {"score": True})))
    assert told["policy"] == policy.version
    assert told["sha256"] == policy.manifest.digest
    assert (told["environment"], told["simulator"]) == ("CarRacing-v3", "stock")
    assert told["filter"] == {"smooth_alpha": 0.5, "steer_deadzone": 0.0, "steer_clip": 1.0}
    assert told["comparable"] is False
    assert (told["mean"], told["median"], told["minimum"]) == (800, 800, 700)
    assert (told["laps_finished"], told["below_800"]) == (0.5, 0.5)
    assert told["interval_95"] == list(scores.interval)
    assert told["settings"] == {"score": True}
    assert told["versions"]["torch"]
    assert told["episodes"] == [describe(driven) for driven in scores.episodes]
    assert told["episodes"][1] == {
        "seed": 1,
        "score": 700,
        "frames": 900,
        "lap_finished": False,
        "tiles": 300,
        "tiles_missed": 12,
    }
