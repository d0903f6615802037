"""The RLlib module: the project's actor and critic behind RLlib's interfaces."""

from __future__ import annotations

from typing import Any

from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchDiagGaussian
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from training.manifest import PolicyDescription
from training.network import Actor, Critic

_DESCRIPTION = "description"


class DrivingModule(TorchRLModule, ValueFunctionAPI, InferenceOnlyAPI):  # type: ignore[misc]
    """Separate actor and critic; its outputs go to the simulator through ``training.actions``."""

    description: PolicyDescription

    def setup(self) -> None:
        """Build both networks; env runners drop the critic again (inference only)."""
        self.description = PolicyDescription.model_validate(self.model_config[_DESCRIPTION])
        pipeline, network = self.description.pipeline, self.description.network
        self.actor = Actor(network, pipeline.size, pipeline.stack)
        self.critic = Critic(network, pipeline.size, pipeline.stack)
        self.action_dist_cls = TorchDiagGaussian
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

    def compute_values(self, batch: dict[str, Any], embeddings: Any | None = None) -> Tensor:
        """Values of the states in the batch: (N, size, size, stack) uint8 → (N,) float32."""
        del embeddings  # nothing is shared with the actor
        values: Tensor = self.critic(batch[Columns.OBS]).squeeze(-1)
        return values


def module_spec(description: PolicyDescription) -> RLModuleSpec:
    """The RLlib spec of a module for policies of this description."""
    return RLModuleSpec(
        module_class=DrivingModule,
        model_config={_DESCRIPTION: description.model_dump(mode="json")},
    )
