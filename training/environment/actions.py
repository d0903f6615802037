"""From a network's output to the simulator's controls: one mapping, and a filter for films.

Training, evaluation and the service all go through :func:`to_controls`; nothing else turns what a
network says into steering, gas and brake.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

CONTROLS = ("steering", "gas", "brake")
CONTROLS_LOW = np.array([-1.0, 0.0, 0.0], np.float32)
CONTROLS_HIGH = np.array([1.0, 1.0, 1.0], np.float32)

ActionMapping = Literal["clip_unit_to_bounds", "steering_and_pedal"]
"""How outputs become controls.

``clip_unit_to_bounds``: three outputs, clipped to [-1, 1], then scaled linearly to each control's
bounds. ``steering_and_pedal``: two outputs in [0, 1]; the first is steering from left to right, the
second one pedal, which brakes below a third and accelerates above it, so that a driver who has
learned nothing yet moves.
"""

PEDAL_NEUTRAL = np.float32(1 / 3)
"""Of the second output of ``steering_and_pedal``: neither gas nor brake."""
PEDAL_BRAKE = np.float32(0.8)
"""Brake at the lowest, as in Gymnasium's discrete actions: 0.9 and more block the wheels."""


def output_count(mapping: ActionMapping) -> int:
    """How many numbers the mapping takes for one action."""
    match mapping:
        case "clip_unit_to_bounds":
            return 3
        case "steering_and_pedal":
            return 2


def to_controls(
    output: NDArray[np.float32], mapping: ActionMapping = "clip_unit_to_bounds"
) -> NDArray[np.float32]:
    """Map network outputs to simulator controls.

    Args:
        output: (..., ``output_count(mapping)``) float32, what the network's distribution gave (its
            mean, or a sample).
        mapping: The name that the policy's manifest carries.

    Returns:
        (..., 3) float32: steering in [-1, 1], gas and brake in [0, 1].

    Raises:
        ValueError: The mapping is not known.
    """
    if mapping not in get_args(ActionMapping):
        known = ", ".join(get_args(ActionMapping))
        raise ValueError(f"action mapping {mapping!r} is not known; known: {known}")
    match mapping:
        case "clip_unit_to_bounds":
            unit = (np.clip(output, -1.0, 1.0) + np.float32(1)) / np.float32(2)
            controls: NDArray[np.float32] = CONTROLS_LOW + unit * (CONTROLS_HIGH - CONTROLS_LOW)
            return controls.astype(np.float32, copy=False)
        case "steering_and_pedal":
            inside = np.clip(output, 0.0, 1.0)
            steering = inside[..., 0] * np.float32(2) - np.float32(1)
            pedal = inside[..., 1] - PEDAL_NEUTRAL
            gas = np.maximum(pedal, 0) / (1 - PEDAL_NEUTRAL)
            brake = np.maximum(-pedal, 0) / PEDAL_NEUTRAL * PEDAL_BRAKE
            return np.stack([steering, gas, brake], axis=-1).astype(np.float32, copy=False)


def output_space(mapping: ActionMapping = "clip_unit_to_bounds") -> gym.spaces.Box:
    """The space that an agent acts in: network outputs, (``output_count(mapping)``,) float32.

    It is unbounded on purpose: clipping is a part of the mapping, so the learner sees the action
    that it sampled and the simulator the one that was driven.
    """
    shape = (output_count(mapping),)
    return gym.spaces.Box(np.float32(-np.inf), np.float32(np.inf), shape, np.float32)


class MapActions(gym.ActionWrapper[Any, Any, Any]):
    """Let an agent act in network outputs; the wrapped environment gets controls."""

    def __init__(
        self, env: gym.Env[Any, Any], mapping: ActionMapping = "clip_unit_to_bounds"
    ) -> None:
        super().__init__(env)
        self.mapping = mapping
        self.action_space = output_space(mapping)

    def action(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Controls, (3,) float32, for a network output."""
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
