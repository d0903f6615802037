"""The networks: pictures in, distribution parameters or a value out. Plain PyTorch, no RLlib."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from training.environment.actions import CONTROLS
from training.policy.distributions import DistributionName, bounded, parameter_count

CriticKind = Literal["separate", "shared"]
"""Whether the value has an encoder of its own, or is read off the policy's hidden layer."""
Initialization = Literal["default", "orthogonal"]
"""First weights: PyTorch's own, or orthogonal ones with a policy head near zero."""

Precision = Literal["fp32", "bf16"]
"""Number format that a learner computes gradients in."""
PrecisionOption = Literal["auto", "fp32", "bf16"]
"""The same as an option; ``auto`` is the faster one."""


@dataclass(frozen=True)
class ConvLayer:
    """One square convolution followed by ReLU."""

    filters: int
    kernel: int
    stride: int


@dataclass(frozen=True)
class NetworkShape:
    """What a network looks like; a policy's manifest carries it."""

    convolutions: tuple[ConvLayer, ...] = (
        ConvLayer(32, 8, 4),
        ConvLayer(64, 4, 2),
        ConvLayer(64, 3, 1),
    )
    """The encoder's layers, first to last."""
    padding: Literal["same", "valid"] = "same"
    """``same``: a layer of stride s turns n pixels into ceil(n / s), as TensorFlow pads; ``valid``:
    no padding."""
    hidden: int = 256
    """Units of the one hidden layer of a head."""
    distribution: DistributionName = "diagonal_gaussian"
    """What the policy head's outputs mean; see ``training.policy.distributions``."""

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be built with a ValueError that names the number."""
        if not self.convolutions:
            raise ValueError("convolutions is empty; it must hold at least one layer")
        for layer in self.convolutions:
            if min(layer.filters, layer.kernel, layer.stride) < 1:
                raise ValueError(f"{layer} has a number below 1")
            if layer.kernel < layer.stride:
                raise ValueError(f"{layer} skips pixels: its kernel is smaller than its stride")
        if self.hidden < 1:
            raise ValueError(f"hidden is {self.hidden}; it must be at least 1")


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after ``size`` pixels so that ceil(size / stride) come out."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class Encoder(nn.Sequential):
    """Convolutions over a picture stack: (N, stack, size, size) float → (N, features)."""

    def __init__(self, shape: NetworkShape, size: int, stack: int) -> None:
        layers: list[nn.Module] = []
        channels = stack
        for conv in shape.convolutions:
            before = after = 0
            if shape.padding == "same":
                before, after = same_padding(size, conv.kernel, conv.stride)
            if size + before + after < conv.kernel:
                raise ValueError(f"{conv} does not fit into the {size} pixels that reach it")
            if before == after:
                layers.append(
                    nn.Conv2d(channels, conv.filters, conv.kernel, conv.stride, padding=before)
                )
            else:
                layers.append(nn.ZeroPad2d((before, after, before, after)))
                layers.append(nn.Conv2d(channels, conv.filters, conv.kernel, conv.stride))
            layers.append(nn.ReLU())
            channels = conv.filters
            size = (size + before + after - conv.kernel) // conv.stride + 1
        super().__init__(*layers, nn.Flatten())
        self.features = channels * size * size


class PixelNetwork(nn.Module):
    """An encoder of its own and one head."""

    def __init__(self, shape: NetworkShape, size: int, stack: int, outputs: int) -> None:
        super().__init__()
        self.encoder = Encoder(shape, size, stack)
        self.head = nn.Sequential(
            nn.Linear(self.encoder.features, shape.hidden),
            nn.ReLU(),
            nn.Linear(shape.hidden, outputs),
        )

    def embed(self, observations: Tensor) -> Tensor:
        """What the hidden layer says.

        Args:
            observations: (N, size, size, stack), uint8 in 0…255 or float in [0, 1].

        Returns:
            (N, hidden) float32.
        """
        pixels = observations.permute(0, 3, 1, 2)
        # Channels last in memory already: oneDNN's fast layout, and no copy until the cast.
        # In place, because a new tensor of this size costs more in page faults than in arithmetic.
        scaled = pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels.float()
        embedding: Tensor = self.head[:-1](self.encoder(scaled))
        return embedding

    def decide(self, embedding: Tensor) -> Tensor:
        """The outputs, (N, outputs) float32, for what :meth:`embed` gave."""
        outputs: Tensor = self.head[-1](embedding)
        return outputs

    def forward(self, observations: Tensor) -> Tensor:
        """Run the network: (N, size, size, stack) → (N, outputs) float32."""
        return self.decide(self.embed(observations))


class Actor(PixelNetwork):
    """Observations → distribution parameters, (N, parameters)."""

    def __init__(
        self, shape: NetworkShape, size: int, stack: int, actions: int = len(CONTROLS)
    ) -> None:
        """Build it for actions of so many numbers."""
        super().__init__(shape, size, stack, outputs=parameter_count(shape.distribution) * actions)
        self._distribution = shape.distribution

    def decide(self, embedding: Tensor) -> Tensor:
        """The distribution parameters, (N, parameters) float32, for a hidden layer, (N, hidden)."""
        return bounded(self._distribution, super().decide(embedding))


class Critic(PixelNetwork):
    """Observations → the value of the state, (N, 1)."""

    def __init__(self, shape: NetworkShape, size: int, stack: int) -> None:
        super().__init__(shape, size, stack, outputs=1)


def initialize_orthogonally(network: nn.Module, *, last_gain: float) -> None:
    """Give a network orthogonal weights and zero biases, as PPO's common implementations do.

    Args:
        network: Convolutions and linear layers in their order, each but the last before a ReLU.
        last_gain: Gain of the last layer; the others' is √2.
    """
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer in layers:
        nn.init.orthogonal_(layer.weight, last_gain if layer is layers[-1] else math.sqrt(2.0))
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
