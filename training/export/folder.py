"""The folder of an exported policy, in the layout of model hubs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from training.evaluation.film import Film
from training.evaluation.rollout import drive
from training.export.card import write_card
from training.export.onnx_model import ONNX_FILE, check_parity, export_onnx
from training.export.score import read_score
from training.policy.acting import Policy
from training.policy.manifest import MANIFEST_FILE, WEIGHTS_FILE, Manifest

CARD_FILE: Final = "README.md"
SCORE_FILE: Final = "score.json"
FILM_FILE: Final = "film.gif"
_FILM_FPS: Final = 25


class NotPublishedError(Exception):
    """A policy without a manifest; the message says what to export instead."""


def export_policy(
    policy: Policy, folder: Path, *, score: bytes | None = None, film_seed: int | None = 0
) -> float:
    """Write a published policy as a folder that hubs, ``evaluate`` and the service take.

    Args:
        policy: A policy with a manifest.
        folder: Where to write; it is created.
        score: Contents of its ``score.json``, if a score was taken.
        film_seed: The track of the film; None: no film.

    Returns:
        The largest difference of a control of the ONNX model from the policy's.

    Raises:
        NotPublishedError: The policy has no manifest.
        ScoreError: The score is not valid, or another policy's.
        ParityError: The ONNX model decides differently.
    """
    if not isinstance(manifest := policy.description, Manifest):
        raise NotPublishedError(
            f"{policy.version} was not published; export a published policy's folder, or a "
            "storage root"
        )
    report = None if score is None else read_score(score, policy)
    model = export_onnx(policy)
    difference = check_parity(model, policy)
    files = {
        ONNX_FILE: model,
        WEIGHTS_FILE: policy.weights,
        MANIFEST_FILE: manifest.to_file(),
    }
    if score is not None:
        files[SCORE_FILE] = score
    if film_seed is not None:
        film = Film()
        drive(policy, film_seed, simulator="fast", film_fps=_FILM_FPS, shoot=film.add)
        files[FILM_FILE] = film.encode()
    card = write_card(manifest, report, FILM_FILE if FILM_FILE in files else None)
    files[CARD_FILE] = card.encode()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return difference
