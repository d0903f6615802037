"""Serve on this machine: ``python -m app.local``."""
