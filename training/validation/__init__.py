"""Validation scores of published policies, and the result of a run."""
