"""PPO's learner, with coefficients that can be changed while it trains.

RLlib reads learning rate, entropy coefficient and clip range from three different places, and its
schedulers overwrite a value that was set by hand. So :meth:`DrivingLearner.use` replaces what each
is read from. The weight of the KL loss is a part of the learner's state here: RLlib adapts it and
does not checkpoint it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.utils.schedules.scheduler import Scheduler

from training.policy.network import Precision
from training.rllib.learning.batch import make_batch, minibatches
from training.rllib.learning.memory import keep_freed_memory
from training.rllib.learning.precision import choose_precision

_KL_COEFF_STATE = "kl_coeff"
ADAM_EPSILON = "adam_epsilon"
PRECISION = "precision"
"""Keys in RLlib's ``learner_config_dict``."""


@dataclass(frozen=True)
class Coefficients:
    """What the loss and the optimizer use."""

    lr: float
    entropy_coeff: float
    clip_param: float


class DrivingLearner(PPOTorchLearner):  # type: ignore[misc]
    """PPO's own update; see the module's docstring for what is added."""

    config: Any

    def build(self) -> None:
        """Build as PPO does, with an allocator that suits it."""
        keep_freed_memory()
        super().build()
        self._driving_module().precision = choose_precision(
            self._driving_module(),
            self.config.learner_config_dict.get(PRECISION, "fp32"),
            self.config.minibatch_size,
        )

    def _driving_module(self) -> Any:
        return self.module[DEFAULT_MODULE_ID].unwrapped()

    def precision(self) -> Precision:
        """What the update computes gradients in."""
        precision: Precision = self._driving_module().precision
        return precision

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Adam in one fused kernel; ``adam_epsilon`` comes with the configuration."""
        parameters = self.get_parameters(self.module[module_id])
        epsilon = self.config.learner_config_dict.get(ADAM_EPSILON, 1e-8)
        self.register_optimizer(
            module_id=module_id,
            optimizer=torch.optim.Adam(parameters, eps=epsilon, fused=True),
            params=parameters,
            lr_or_lr_schedule=config.lr,
        )

    def update(
        self,
        *,
        training_data: TrainingData,
        timesteps: dict[str, Any],
        num_epochs: int,
        minibatch_size: int,
        **_: Any,
    ) -> Any:
        """Learn from episodes as RLlib does, but from whole tensors.

        Args:
            training_data: Episodes of :class:`training.rllib.sampling.env_runner.DrivingEnvRunner`.
            timesteps: Handed on.
            num_epochs: Passes over the batch.
            minibatch_size: Decisions of one optimizer step.

        Returns:
            RLlib's reduced metrics; losses are those of the last minibatch.
        """
        self.before_gradient_based_update(timesteps=timesteps)
        training_data.solve_refs()
        batch = make_batch(
            self._driving_module(),
            training_data.episodes,
            gamma=self.config.gamma,
            lambda_=self.config.lambda_,
        )
        for minibatch in minibatches(batch, size=minibatch_size, epochs=num_epochs):
            by_module = {DEFAULT_MODULE_ID: minibatch}
            outputs = self.module.forward_train(by_module)
            losses = self.compute_losses(fwd_out=outputs, batch=by_module)
            gradients = self.compute_gradients(losses)
            self.apply_gradients(self.postprocess_gradients(gradients))
        self.metrics.log_value(
            (DEFAULT_MODULE_ID, self.TOTAL_LOSS_KEY), losses[DEFAULT_MODULE_ID], window=1
        )
        self.after_gradient_based_update(timesteps=timesteps)
        return self.metrics.reduce()

    def coefficients(self) -> Coefficients:
        """The three, read from where the update reads them."""
        (_, optimizer), *_ = self.get_optimizers_for_module(DEFAULT_MODULE_ID)
        entropy = self.entropy_coeff_schedulers_per_module[DEFAULT_MODULE_ID].get_current_value()
        return Coefficients(
            lr=float(optimizer.param_groups[0]["lr"]),
            entropy_coeff=float(entropy),
            clip_param=float(self.config.get_config_for_module(DEFAULT_MODULE_ID).clip_param),
        )

    def use(self, coefficients: Coefficients) -> None:
        """Use these from the next update on."""
        for _, optimizer in self.get_optimizers_for_module(DEFAULT_MODULE_ID):
            # The scheduler sets the optimizer's lr after every update, so it must agree.
            self._optimizer_lr_schedules[optimizer] = Scheduler(
                fixed_value_or_schedule=coefficients.lr, framework=self.framework
            )
            self._set_optimizer_lr(optimizer, lr=coefficients.lr)
        self.entropy_coeff_schedulers_per_module[DEFAULT_MODULE_ID] = Scheduler(
            fixed_value_or_schedule=coefficients.entropy_coeff, framework=self.framework
        )
        # A copy: the algorithm's own config may be the same object. RLlib leaves it unfrozen.
        self.config = self.config.copy(copy_frozen=False)
        self.config.training(clip_param=coefficients.clip_param)

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """RLlib's state and the KL loss's weight."""
        state: dict[str, Any] = super().get_state(
            components, not_components=not_components, **options
        )
        if self.config.use_kl_loss and self._check_component(
            _KL_COEFF_STATE, components, not_components
        ):
            state[_KL_COEFF_STATE] = float(self._kl_coeff())
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """RLlib's state and the KL loss's weight."""
        super().set_state(state)
        if _KL_COEFF_STATE in state:
            self._kl_coeff().fill_(state[_KL_COEFF_STATE])

    def _kl_coeff(self) -> torch.Tensor:
        """The KL loss's weight, a scalar that RLlib adapts in place after each update."""
        weight: torch.Tensor = self.curr_kl_coeffs_per_module[DEFAULT_MODULE_ID]
        return weight

    def non_finite_weight(self) -> str | None:
        """The name of a weight that is not a finite number, or None."""
        for name, weight in self.module[DEFAULT_MODULE_ID].named_parameters():
            if not bool(torch.isfinite(weight).all()):
                return str(name)
        return None
