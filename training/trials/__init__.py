"""One trial as Tune runs it: checkpoints, restore, and its table."""
