"""The RLlib module: the project's actor and critic behind RLlib's interfaces."""

from __future__ import annotations

from typing import Any

from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchDiagGaussian
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from training.beta import TorchBeta
from training.manifest import PolicyDescription
from training.network import Critic, CriticKind, Initialization, initialize_orthogonally

_DISTRIBUTIONS = {"diagonal_gaussian": TorchDiagGaussian, "beta": TorchBeta}
_POLICY_GAIN = 0.01
"""So that the first policy hardly depends on what it sees."""
_VALUE_GAIN = 1.0


class DrivingModule(TorchRLModule, ValueFunctionAPI, InferenceOnlyAPI):  # type: ignore[misc]
    """Actor and critic; its outputs go to the simulator through ``training.actions``."""

    description: PolicyDescription

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
        """What acting does not need."""
        return ["critic"]

    def train(self, mode: bool = True) -> DrivingModule:
        """Switch the mode as torch does, if it is another one.

        RLlib switches around every forward pass of an env runner, and each time torch visits all
        layers, though none of them behaves differently.
        """
        if mode != self.training:
            super().train(mode)
        return self

    def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Tensor]:
        return {Columns.ACTION_DIST_INPUTS: self.actor(batch[Columns.OBS])}

    def _forward_train(self, batch: dict[str, Any], **_: Any) -> dict[str, Tensor]:
        embedding = self.actor.embed(batch[Columns.OBS])
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
        seen: Tensor = batch[Columns.OBS]
        if self._shared:
            seen = self.actor.embed(seen) if embeddings is None else embeddings
        values: Tensor = self.critic(seen).squeeze(-1)
        return values


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
