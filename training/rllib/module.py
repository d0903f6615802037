"""The RLlib module: the project's actor and critic behind RLlib's interfaces."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchDiagGaussian
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from training.policy.manifest import PolicyDescription
from training.policy.network import (
    Critic,
    CriticKind,
    Initialization,
    PixelNetwork,
    Precision,
    initialize_orthogonally,
)
from training.rllib.beta import TorchBeta

_DISTRIBUTIONS = {"diagonal_gaussian": TorchDiagGaussian, "beta": TorchBeta}
_POLICY_GAIN = 0.01
"""So that the first policy hardly depends on what it sees."""
_VALUE_GAIN = 1.0


class DrivingModule(TorchRLModule, ValueFunctionAPI, InferenceOnlyAPI):  # type: ignore[misc]
    """Actor and critic; ``training.environment.actions`` maps its outputs to controls."""

    description: PolicyDescription
    precision: Precision = "fp32"
    """What the hidden layers' gradients are computed in."""

    def setup(self) -> None:
        """Build both networks; env runners drop the critic again (inference only)."""
        self.description = PolicyDescription.model_validate(self.model_config["description"])
        pipeline, network = self.description.pipeline, self.description.network
        self._shared = self.model_config["critic"] == "shared"
        self.actor = self.description.build_actor()
        self.critic: nn.Module = (
            nn.Linear(network.hidden, 1)
            if self._shared
            else Critic(network, pipeline.size, pipeline.stack)
        )
        if self.model_config["initialization"] == "orthogonal":
            initialize_orthogonally(self.actor, last_gain=_POLICY_GAIN)
            initialize_orthogonally(self.critic, last_gain=_VALUE_GAIN)
        self.action_dist_cls = _DISTRIBUTIONS[network.distribution]
        if self.inference_only:
            self.eval()

    def get_non_inference_attributes(self) -> list[str]:
        """What sampling does not need: a critic of its own predicts values where it learns."""
        return [] if self._shared else ["critic"]

    def train(self, mode: bool = True) -> DrivingModule:
        """Switch the mode as torch does, if it is another one.

        RLlib switches around every forward pass of an env runner, and each time torch visits all
        layers, though none of them behaves differently.
        """
        if mode != self.training:
            super().train(mode)
        return self

    def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Tensor]:
        embedding = self.actor.embed(batch[Columns.OBS])
        outputs = {Columns.ACTION_DIST_INPUTS: self.actor.decide(embedding)}
        if self._shared:
            outputs[Columns.VF_PREDS] = self.critic(embedding).squeeze(-1)
        return outputs

    def _forward_train(self, batch: dict[str, Any], **_: Any) -> dict[str, Tensor]:
        embedding = self._embed(self.actor, batch[Columns.OBS])
        outputs = {Columns.ACTION_DIST_INPUTS: self.actor.decide(embedding)}
        if self._shared:
            outputs[Columns.EMBEDDINGS] = embedding
        return outputs

    def compute_values(self, batch: dict[str, Any], embeddings: Tensor | None = None) -> Tensor:
        """Values of the states in the batch.

        Args:
            batch: Its observations, (N, size, size, stack) uint8.
            embeddings: What ``forward_train`` gave with the actions, if the critic shares it.

        Returns:
            (N,) float32.
        """
        values: Tensor
        if isinstance(self.critic, Critic):
            values = self.critic.decide(self._embed(self.critic, batch[Columns.OBS]))
        else:
            if embeddings is None:
                embeddings = self._embed(self.actor, batch[Columns.OBS])
            values = self.critic(embeddings)
        return values.squeeze(-1)

    def _embed(self, network: PixelNetwork, observations: Tensor) -> Tensor:
        """A network's hidden layer, (N, hidden) float32.

        Only gradients are computed with fewer bits. Values that advantages are made of are not, and
        neither is the last layer: a value of 40 would be a multiple of 0.25.
        """
        with torch.autocast(
            observations.device.type,
            dtype=torch.bfloat16,
            enabled=self.precision == "bf16" and torch.is_grad_enabled(),
        ):
            return network.embed(observations).float()


def module_spec(
    description: PolicyDescription,
    *,
    critic: CriticKind = "separate",
    initialization: Initialization = "default",
) -> RLModuleSpec:
    """The RLlib spec of a module for policies of this description."""
    return RLModuleSpec(
        module_class=DrivingModule,
        model_config={
            "description": description.model_dump(mode="json"),
            "critic": critic,
            "initialization": initialization,
        },
    )
