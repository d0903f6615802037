"""The learner: batches, the update, and its number format."""
