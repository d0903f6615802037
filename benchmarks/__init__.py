"""Measurements of the project's speed and of what its fast simulator leaves out."""
