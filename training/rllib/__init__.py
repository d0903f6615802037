"""PPO in RLlib's terms: configuration, module and phases; env runners and learner below."""
