"""Export a policy: ``python -m training.export``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tyro

from training.environment.seeds import GIVEN_SEEDS
from training.evaluation.sources import load_policy
from training.export.folder import NotPublishedError, export_policy
from training.export.hub import HubError, push
from training.export.onnx_model import ParityError
from training.export.score import ScoreError
from training.extras import MissingExtraError, require
from training.policy.published import BrokenPolicyError
from training.rllib.checkpoint import NotACheckpointError
from training.store.policies import NoPolicyError
from training.store.storage import StorageError, choose_root

_PROGRAM: Final = "python -m training.export"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write a policy as a folder in the layout of model hubs: ONNX, weights, model card, film.

    The ONNX model is compared with the policy on 1,000 decisions.
    """

    checkpoint: str | None = None
    """A published policy's folder; `bundled`; the version of a policy in the storage root; or a
    storage root, whose newest policy is taken. Default: the storage root that training writes
    to."""
    output: Path = Path("export")
    """The folder to write."""
    score: Path | None = None
    """The policy's score, as `python -m training.evaluate score` wrote it; default: none."""
    film: bool = True
    """Whether to film a track."""
    seed: int = 0
    """Seed of that track."""
    push: str | None = None
    """Name of a model repository, NAME or OWNER/NAME, to upload the folder to. HF_TOKEN is the
    hub's token, HF_ENDPOINT its address."""
    private: bool = False
    """Whether a repository that is created is private."""

    def __post_init__(self) -> None:
        """Check the values; raises ValueError."""
        if self.seed not in GIVEN_SEEDS:
            raise ValueError(f"--seed is {self.seed}; it must be 0 to {GIVEN_SEEDS[-1]}")
        if self.output.exists() and not self.output.is_dir():
            raise ValueError(f"--output is {self.output}, which is not a folder")
        if self.private and self.push is None:
            raise ValueError("--private is given without --push; it is for a repository")


def export(options: Options) -> None:
    """Write the folder, and upload it if that was asked for; raises what :func:`main` catches."""
    require("export", "onnx", "onnxscript", "onnxruntime", "huggingface_hub")
    policy = load_policy(choose_root(options.checkpoint), root=choose_root())
    difference = export_policy(
        policy,
        options.output,
        score=None if options.score is None else options.score.read_bytes(),
        film_seed=options.seed if options.film else None,
    )
    print(f"{policy.version}: ONNX controls differ by at most {difference:.1e} from PyTorch's")
    print(f"folder: {options.output}")
    if options.push is not None:
        print(f"uploaded: {push(options.output, options.push, private=options.private)}")


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        export(tyro.cli(Options, args=arguments, prog=_PROGRAM))
    except (
        BrokenPolicyError,
        HubError,
        MissingExtraError,
        NoPolicyError,
        NotACheckpointError,
        NotPublishedError,
        ParityError,
        ScoreError,
        StorageError,
        ValueError,
        OSError,
    ) as error:
        raise SystemExit(f"{_PROGRAM}: {error}") from error


if __name__ == "__main__":
    main(sys.argv[1:])
