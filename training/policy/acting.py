"""A published policy that can act, on the CPU and without RLlib."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray

from training.environment.actions import to_controls
from training.policy import distributions
from training.policy.manifest import WEIGHTS_FILE, Manifest, PolicyDescription
from training.policy.network import Actor
from training.policy.published import BrokenPolicyError, PublishedPolicy


def weights_to_bytes(actor: Actor) -> bytes:
    """An actor's weights as the contents of ``policy.safetensors``."""
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in actor.state_dict().items()
    }
    return safetensors.torch.save(tensors)


class Policy:
    """Observations in, controls out. Safe to share between threads."""

    def __init__(self, description: PolicyDescription, actor: Actor, *, version: str) -> None:
        """Make a policy of an actor.

        Args:
            description: How to run it; a published policy's manifest is one.
            actor: The network with its weights.
            version: What to call it.
        """
        self.description = description
        self.version = version
        self._actor = actor.eval().requires_grad_(False)

    @classmethod
    def from_published(cls, published: PublishedPolicy) -> Policy:
        """The policy of a manifest and its weights; raises as :meth:`from_weights`."""
        manifest = published.manifest
        return cls.from_weights(manifest, published.weights, version=manifest.version)

    @classmethod
    def from_weights(
        cls, description: PolicyDescription, weights: bytes, *, version: str
    ) -> Policy:
        """Build the network that is described and fill it with the weights.

        Args:
            description: How to run it; a published policy's manifest is one.
            weights: Contents of ``policy.safetensors``.
            version: What to call it.

        Raises:
            BrokenPolicyError: The weights are unreadable, of other shapes, or not finite.
        """
        try:
            tensors = safetensors.torch.load(weights)
        except (safetensors.SafetensorError, KeyError) as error:  # KeyError: a type torch lacks
            raise BrokenPolicyError(
                f"{version}: {WEIGHTS_FILE} is not a safetensors file: {error}"
            ) from error
        for name, tensor in tensors.items():
            if tensor.dtype != torch.float32 or not bool(torch.isfinite(tensor).all()):
                raise BrokenPolicyError(f"{version}: {name} is not finite float32 numbers")
        # On no device, so that a manifest cannot ask for more memory than its weights take.
        try:
            with torch.device("meta"):
                actor = description.build_actor()
        except ValueError as error:
            raise BrokenPolicyError(f"{version}: its network cannot be built: {error}") from error
        try:
            actor.load_state_dict(tensors, strict=True, assign=True)
        except RuntimeError as error:
            raise BrokenPolicyError(
                f"{version}: the weights do not fit the manifest's network: {error}"
            ) from error
        return cls(description, actor, version=version)

    @property
    def manifest(self) -> Manifest:
        """The manifest it was published with; TypeError for a policy that was not published."""
        if not isinstance(self.description, Manifest):
            raise TypeError(f"{self.version} was not published, it has no manifest")
        return self.description

    @property
    def weights(self) -> bytes:
        """The weights as the contents of ``policy.safetensors``."""
        return weights_to_bytes(self._actor)

    @property
    def digest(self) -> str:
        """SHA-256 of the weights in hexadecimal; where there is a manifest, as that says."""
        if isinstance(self.description, Manifest):
            return self.description.digest
        return hashlib.sha256(self.weights).hexdigest()

    @property
    def observation_shape(self) -> tuple[int, int, int]:
        """Shape of one observation: (size, size, stack)."""
        return self.description.pipeline.observation_shape

    def act(self, observations: NDArray[Any], *, seed: int | None = None) -> NDArray[np.float32]:
        """Decide.

        Args:
            observations: (N, size, size, stack), uint8, or float in [0, 1].
            seed: None drives greedily; a number samples, the same for the same batch and seed.

        Returns:
            (N, 3) float32 controls: steering in [-1, 1], gas and brake in [0, 1]. For equal
            arrays they are the same to the bit, whatever other threads decide meanwhile; for the
            same observation in another batch they may differ by rounding.

        Raises:
            ValueError: The array has another shape.
        """
        if observations.ndim != 4 or observations.shape[1:] != self.observation_shape:
            raise ValueError(
                f"observations have shape {observations.shape}, "
                f"expected (N, {', '.join(map(str, self.observation_shape))})"
            )
        if observations.dtype != np.uint8 and observations.dtype.kind != "f":
            raise ValueError(
                f"observations are {observations.dtype}, expected uint8, or floats in [0, 1]"
            )
        if observations.dtype != np.uint8:
            observations = observations.astype(np.float32, copy=False)
        # torch takes no read-only arrays without a warning.
        observations = np.require(observations, requirements=["C", "W"])
        with torch.inference_mode():
            distribution = self.description.network.distribution
            parameters = self._actor(torch.from_numpy(observations))
            if seed is None:
                output = distributions.mean(distribution, parameters)
            else:
                generator = torch.Generator().manual_seed(seed)
                output = distributions.sample(distribution, parameters, generator)
        return to_controls(output.numpy(), self.description.action_mapping)

    def warm_up(self) -> None:
        """Run the network, so that the first query does not pay for its set-up.

        Raises:
            BrokenPolicyError: What it says of a black and a white picture is not finite: weights
                may be finite and still overflow.
        """
        black = np.zeros((1, *self.observation_shape), np.uint8)
        pictures = np.concatenate([black, ~black])
        for seed in (None, 0):
            if not np.isfinite(self.act(pictures, seed=seed)).all():
                raise BrokenPolicyError(f"{self.version}: its actions are not finite numbers")
