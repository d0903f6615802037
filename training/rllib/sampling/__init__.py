"""Env runners: environments, episodes, and what is reported of them."""
