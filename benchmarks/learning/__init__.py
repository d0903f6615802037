"""An iteration of training: its time, its parts, and what it learns."""
