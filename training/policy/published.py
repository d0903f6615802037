"""One policy as it was published, and the error of one that must not be used."""

from __future__ import annotations

from dataclasses import dataclass

from training.policy.manifest import Manifest


class BrokenPolicyError(Exception):
    """A published policy that must not be used; the message says which one and why."""


@dataclass(frozen=True)
class PublishedPolicy:
    """A policy as it was published, verified against its manifest."""

    manifest: Manifest
    weights: bytes
    """Contents of ``policy.safetensors``."""
