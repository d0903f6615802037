"""PPO in RLlib's terms: configuration, module, learner, env runner and phases."""
