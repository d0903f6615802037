"""CarRacing with the same physics to the bit, drawn much faster.

Importing this package registers ``FastCarRacing-v3`` with Gymnasium, so that
``gym.make("training.simulator:FastCarRacing-v3")`` works without another import. It needs nothing
from the rest of the project.
"""

import gymnasium as gym

from training.simulator.environment import FastCarRacing

__all__ = ["FastCarRacing"]

# The limits of CarRacing-v3.
gym.register(
    "FastCarRacing-v3",
    entry_point="training.simulator.environment:FastCarRacing",
    max_episode_steps=1000,
    reward_threshold=900,
)
