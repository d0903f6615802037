"""Policies to publish: the bundled one with noise in its weights, so that each differs."""

from __future__ import annotations

from datetime import UTC, datetime

import safetensors.torch
import torch

from app.policies.bundled import read_bundled
from training.policy.manifest import Manifest
from training.policy.published import PublishedPolicy
from training.store.published import describe_files

_NOISE = 0.05
"""Of a tensor's own spread."""
RUN = "variants"


def variant(number: int) -> PublishedPolicy:
    """The variant with this number, made now; a later one is newer."""
    bundled = read_bundled()
    generator = torch.Generator().manual_seed(number)
    tensors = {
        name: value
        + _NOISE * value.std(correction=0) * torch.randn(value.shape, generator=generator)
        for name, value in safetensors.torch.load(bundled.weights).items()
    }
    weights = safetensors.torch.save(tensors)
    files = describe_files(weights)
    changed = {
        "version": f"{RUN}-{number:06d}-{files['policy.safetensors'].sha256[:8]}",
        "run": RUN,
        "iteration": number,
        "created_at": datetime.now(UTC),
        "files": files,
    }
    manifest = Manifest.model_validate(bundled.manifest.model_dump() | changed)
    return PublishedPolicy(manifest, weights)
