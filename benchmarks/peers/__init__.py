"""Other servers with the same policy."""
