"""Serve the newest published policy over HTTP: actions, films and training curves, on the CPU."""
