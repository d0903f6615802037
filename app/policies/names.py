"""Names of policies, and where a policy comes from. This module loads no PyTorch."""

from __future__ import annotations

from typing import Final, Literal

from training.policy.name import Name

PolicyName = Name
"""``served``, ``latest``, ``best``, ``bundled``, or a version."""

Source = Literal["storage", "bundled"]
"""Where a policy comes from."""

SERVED: Final = "served"
"""The policy that the service follows."""
LATEST: Final = "latest"
"""The policy that was promoted last."""
BEST: Final = "best"
"""The policy with the highest validation score."""
BUNDLED: Final = "bundled"
"""The policy that comes with the service."""
NEWEST: Final = "newest"
"""Older name of ``latest``, kept for existing links and programs."""
NAMES: Final = frozenset({SERVED, LATEST, BEST, BUNDLED, NEWEST})
"""All names that are not versions."""
