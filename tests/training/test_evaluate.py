from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import build_policy
from training import evaluate
from training.evaluate import EvaluateOptions, drive_episodes
from training.rollout import Episode, drive


@pytest.mark.parametrize("film", [False, True])
def test_scores_are_taken_on_stock(
    film: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    simulators: list[str] = []

    def noted(*args: Any, simulator: str, **options: Any) -> Episode:
        simulators.append(simulator)
        return drive(*args, simulator=simulator, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluate, "drive", noted)
    options = EvaluateOptions(
        episodes=2, max_steps=8, film=film, output=tmp_path / "film.gif", width=60
    )
    assert [episode.frames for episode in drive_episodes(build_policy(), options)] == [8, 8]
    assert simulators == ["stock"] * 2
    assert options.output.exists() == film
