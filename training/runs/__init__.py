"""One training run: Tune, checkpoints and resume, progress tables, stop signals, publishing."""
