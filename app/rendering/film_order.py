"""The parameters of a film, and its ETag."""

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
"""Default pictures per second: half of the simulator's frame rate."""

_FILM_VERSION = 3  # raise it when this project draws films differently
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
def _renderer_versions(encoding: FilmFormat) -> dict[str, str]:
    """Return the versions of everything else that affects a film."""
    ours = {"film": str(_FILM_VERSION), "machine": platform.machine()}
    names = (*_DECIDES_BYTES, "imageio-ffmpeg") if encoding == "mp4" else _DECIDES_BYTES
    return ours | {name: version(name) for name in names}


@dataclass(frozen=True)
class FilmOrder:
    """All parameters of a film."""

    run: str
    version: str
    digest: str
    """SHA-256 of the policy's weights."""
    seed: int = 0
    """Seed of the first track; episode k, counted from 0, uses ``seed + k``."""
    episodes: int = 1
    max_steps: int = 1000
    """Longest episode in simulator frames."""
    fps: int = FPS
    """Pictures per second of simulated time."""
    width: int = WIDTH
    """Width in pixels."""
    encoding: FilmFormat = "gif"
    source: Source = "storage"
    """Where the policy comes from."""

    @property
    def etag(self) -> str:
        """Strong ETag with quotes; it needs no rendering."""
        facts = json.dumps([asdict(self), _renderer_versions(self.encoding)], sort_keys=True)
        return f'"{hashlib.sha256(facts.encode()).hexdigest()[:32]}"'
