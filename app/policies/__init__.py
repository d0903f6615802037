"""Policies that the service knows: watch storage, load, list, and the bundled one."""
