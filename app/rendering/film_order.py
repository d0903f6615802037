"""What is asked of a film, and all that its bytes depend on."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version

from app.policies.names import Source
from training.evaluation.film import WIDTH, FilmFormat

FPS = 25
"""Pictures per second unless others are asked for: half of the simulator's own."""

_FILM_VERSION = 3  # to be raised where this project itself comes to draw films differently
_DECIDES_BYTES = (
    "torch",
    "numpy",
    "gymnasium",
    "box2d",
    "pygame",
    "pillow",
    "opencv-python-headless",
)


@cache
def _renderer_versions() -> dict[str, str]:
    """Everything besides an order that its film's bytes depend on."""
    ours = {"film": str(_FILM_VERSION), "machine": platform.machine()}
    return ours | {name: version(name) for name in _DECIDES_BYTES}


@dataclass(frozen=True)
class FilmOrder:
    """Everything that decides what a film shows."""

    run: str
    version: str
    digest: str
    """SHA-256 of the policy's weights."""
    seed: int = 0
    """The first episode's track; the k-th, counted from 0, is driven on ``seed + k``."""
    episodes: int = 1
    max_steps: int = 1000
    """Simulator frames of an episode at most."""
    fps: int = FPS
    """Pictures per second of simulated time."""
    width: int = WIDTH
    """In pixels."""
    encoding: FilmFormat = "gif"
    source: Source = "storage"
    """Where the policy is."""

    @property
    def etag(self) -> str:
        """A strong ETag, quotes included; it needs no rendering."""
        facts = json.dumps([asdict(self), _renderer_versions()], sort_keys=True)
        return f'"{hashlib.sha256(facts.encode()).hexdigest()[:32]}"'
