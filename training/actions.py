"""From a network's output to the simulator's controls: one mapping, and a filter for films.

Training, evaluation and the service all go through :func:`to_controls`; nothing else turns what a
network says into steering, gas and brake.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

CONTROLS = ("steering", "gas", "brake")
CONTROLS_LOW = np.array([-1.0, 0.0, 0.0], np.float32)
CONTROLS_HIGH = np.array([1.0, 1.0, 1.0], np.float32)

ActionMapping = Literal["clip_unit_to_bounds"]
"""How outputs become controls: clip to [-1, 1], then scale linearly to each control's bounds."""


def to_controls(
    output: NDArray[np.float32], mapping: ActionMapping = "clip_unit_to_bounds"
) -> NDArray[np.float32]:
    """Map network outputs to simulator controls.

    Args:
        output: (..., 3) float32, what the network's distribution gave (its mean, or a sample).
        mapping: The name that the policy's manifest carries.

    Returns:
        (..., 3) float32: steering in [-1, 1], gas and brake in [0, 1].

    Raises:
        ValueError: The mapping is not known.
    """
    if mapping != "clip_unit_to_bounds":
        raise ValueError(f"action mapping {mapping!r} is not known; known: clip_unit_to_bounds")
    unit = (np.clip(output, -1.0, 1.0) + np.float32(1)) / np.float32(2)
    controls: NDArray[np.float32] = CONTROLS_LOW + unit * (CONTROLS_HIGH - CONTROLS_LOW)
    return controls.astype(np.float32, copy=False)


def output_space() -> gym.spaces.Box:
    """The space that an agent acts in: network outputs, (3,) float32.

    It is unbounded on purpose: clipping is a part of the mapping, so the learner sees the action
    that it sampled and the simulator the one that was driven.
    """
    return gym.spaces.Box(np.float32(-np.inf), np.float32(np.inf), (len(CONTROLS),), np.float32)


class MapActions(gym.ActionWrapper[Any, Any, Any]):
    """Let an agent act in network outputs; the wrapped environment gets controls."""

    def __init__(
        self, env: gym.Env[Any, Any], mapping: ActionMapping = "clip_unit_to_bounds"
    ) -> None:
        super().__init__(env)
        self.mapping = mapping
        self.action_space = output_space()

    def action(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Controls, (3,) float32, for a network output, (3,) float32."""
        return to_controls(action, self.mapping)


@dataclass(frozen=True)
class ActionFilter:
    """A smoothing of controls over the decisions of one episode, for calmer films.

    The defaults change nothing.
    """

    smooth_alpha: float = 1.0
    """Weight of the new controls in the exponential average, in (0, 1]; 1 is no averaging."""
    steer_deadzone: float = 0.0
    """Averaged steering smaller than this becomes 0, in [0, 1)."""
    steer_clip: float = 1.0
    """Largest steering to either side, in (0, 1]."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges with a ValueError that names them."""
        if not 0 < self.smooth_alpha <= 1:
            raise ValueError(f"smooth_alpha is {self.smooth_alpha}; it must be in (0, 1]")
        if not 0 <= self.steer_deadzone < 1:
            raise ValueError(f"steer_deadzone is {self.steer_deadzone}; it must be in [0, 1)")
        if not 0 < self.steer_clip <= 1:
            raise ValueError(f"steer_clip is {self.steer_clip}; it must be in (0, 1]")

    def start(self) -> FilterState:
        """The filter at the beginning of an episode."""
        return FilterState(self)

    def to_dict(self) -> dict[str, float]:
        """The three numbers by name, as a manifest holds them."""
        return dataclasses.asdict(self)


class FilterState:
    """An :class:`ActionFilter` at work in one episode."""

    def __init__(self, settings: ActionFilter) -> None:
        self._settings = settings
        self._average: NDArray[np.float32] | None = None

    def __call__(self, controls: NDArray[np.float32]) -> NDArray[np.float32]:
        """Filter one decision's controls, (3,) float32 → (3,) float32."""
        alpha = np.float32(self._settings.smooth_alpha)
        if self._average is None:
            self._average = controls.astype(np.float32)
        else:
            self._average = alpha * controls + (np.float32(1) - alpha) * self._average
        filtered = self._average.copy()
        if abs(filtered[0]) < self._settings.steer_deadzone:
            filtered[0] = 0.0
        filtered[0] = np.clip(filtered[0], -self._settings.steer_clip, self._settings.steer_clip)
        return filtered
