"""One training run: Tune, search, progress tables, stop signals, publishing."""
