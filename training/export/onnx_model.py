"""A policy as an ONNX model, and its comparison with PyTorch."""

from __future__ import annotations

import itertools
import warnings
from typing import Any, Final

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from training.environment.actions import (
    CONTROLS_HIGH,
    CONTROLS_LOW,
    PEDAL_BRAKE,
    PEDAL_NEUTRAL,
    ActionMapping,
)
from training.environment.pipeline import make_env
from training.policy import distributions
from training.policy.acting import Policy
from training.policy.manifest import PolicyDescription

ONNX_FILE: Final = "policy.onnx"
OBSERVATIONS: Final = "observations"
CONTROLS: Final = "controls"
DECISIONS: Final = 1000
"""Decisions that are compared."""
TOLERANCE: Final = 1e-5
"""Largest difference of a control from PyTorch's."""


class ParityError(Exception):
    """The ONNX model does not decide as the policy does; the message says by how much."""


class GreedyControls(nn.Module):
    """Observations → greedy controls, as ``Policy.act`` decides them, in PyTorch alone."""

    def __init__(self, description: PolicyDescription, weights: bytes) -> None:
        """Build it from a policy's description and the contents of ``policy.safetensors``."""
        super().__init__()
        self._actor = description.build_actor()
        self._actor.load_state_dict(safetensors.torch.load(weights))
        self._distribution = description.network.distribution
        self._mapping = description.action_mapping

    def forward(self, observations: Tensor) -> Tensor:
        """Decide: (N, size, size, stack) uint8 → (N, 3) float32."""
        output = distributions.mean(self._distribution, self._actor(observations))
        return _controls(output, self._mapping)


def _controls(output: Tensor, mapping: ActionMapping) -> Tensor:
    """Return what ``to_controls`` does, whose NumPy calls cannot be exported: (N, n) → (N, 3)."""
    match mapping:
        case "clip_unit_to_bounds":
            unit = (output.clamp(-1.0, 1.0) + 1.0) / 2.0
            low, high = torch.from_numpy(CONTROLS_LOW), torch.from_numpy(CONTROLS_HIGH)
            return low + unit * (high - low)
        case "steering_and_pedal":
            inside = output.clamp(0.0, 1.0)
            neutral, most_brake = float(PEDAL_NEUTRAL), float(PEDAL_BRAKE)
            steering, pedal = inside[:, 0] * 2.0 - 1.0, inside[:, 1] - neutral
            gas = pedal.clamp(min=0.0) / (1.0 - neutral)
            brake = (-pedal).clamp(min=0.0) / neutral * most_brake
            return torch.stack([steering, gas, brake], -1)


def export_onnx(policy: Policy) -> bytes:
    """Return a policy as an ONNX model of its greedy controls.

    The input ``observations`` is (N, size, size, stack) uint8, oldest picture first, and the output
    ``controls`` (N, 3) float32; N is free. The action filter is not a part of it.
    """
    model = GreedyControls(policy.description, policy.weights).eval()
    example = torch.zeros((2, *policy.observation_shape), dtype=torch.uint8)
    with warnings.catch_warnings():
        # PyTorch's exporter uses what PyTorch deprecates.
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(
            model,
            (example,),
            input_names=[OBSERVATIONS],
            output_names=[CONTROLS],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    return bytes(program.model_proto.SerializeToString())


def check_parity(model: bytes, policy: Policy) -> float:
    """Compare an ONNX model's controls with the policy's, on decisions of its own driving.

    Returns:
        The largest difference of a control in ``DECISIONS`` decisions.

    Raises:
        ParityError: It is above ``TOLERANCE``.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    env = make_env(policy.description.pipeline)
    largest = 0.0
    over, tracks = True, itertools.count()
    for _ in range(DECISIONS):
        if over:
            observation, _ = env.reset(seed=next(tracks))
        expected = policy.act(observation[None])
        (controls,) = session.run([CONTROLS], {OBSERVATIONS: observation[None]})
        largest = max(largest, float(np.abs(controls - expected).max()))
        observation, _, terminated, truncated, _ = env.step(expected[0])
        over = terminated or truncated
    env.close()  # type: ignore[no-untyped-call]
    if not largest <= TOLERANCE:
        raise ParityError(
            f"controls of the ONNX model differ by up to {largest:.1e} from the policy's; "
            f"{TOLERANCE:g} is allowed"
        )
    return largest
