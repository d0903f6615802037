"""A policy's score, as ``python -m training.evaluate score`` wrote it."""

from __future__ import annotations

from typing import Any

import pydantic

from training.policy.acting import Policy
from training.store.published import faults


class ScoreError(Exception):
    """A score that cannot be exported; the message says why."""


class ScoreReport(pydantic.BaseModel, frozen=True):
    """What a model card shows of a ``score.json``."""

    sha256: str
    mean: pydantic.FiniteFloat
    std: pydantic.FiniteFloat
    median: pydantic.FiniteFloat
    minimum: pydantic.FiniteFloat
    laps_finished: pydantic.FiniteFloat
    below_800: pydantic.FiniteFloat
    interval_95: tuple[pydantic.FiniteFloat, pydantic.FiniteFloat]
    comparable: bool
    episodes: list[dict[str, Any]]


def read_score(content: bytes, policy: Policy) -> ScoreReport:
    """Read a ``score.json``.

    Raises:
        ScoreError: It is not valid, or another policy's.
    """
    try:
        report = ScoreReport.model_validate_json(content)
    except pydantic.ValidationError as error:
        raise ScoreError(f"the score is not valid: {faults(error)}") from error
    if report.sha256 != policy.digest:
        raise ScoreError(
            f"the score is of weights with sha256 {report.sha256}; {policy.version} has "
            f"{policy.digest}"
        )
    return report
