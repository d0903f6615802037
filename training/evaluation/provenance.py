"""What a report says about where its numbers were taken."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

import torch

from training.evaluation.cpus import available_cpus

_LIBRARIES: Final = (
    "gymnasium",
    "box2d",
    "pygame",
    "opencv-python-headless",
    "pillow",
    "torch",
    "numpy",
)
"""What physics, pictures and decisions depend on."""


def provenance() -> dict[str, Any]:
    """Versions, machine and time, ready for JSON."""
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in _LIBRARIES},
        },
        "machine": {
            "platform": platform.platform(),
            "cpus": available_cpus(),
            # Sums are rounded as the instructions add them up.
            "instructions": torch.backends.cpu.get_cpu_capability(),
        },
        "created_at": datetime.now(UTC).isoformat(),
    }
