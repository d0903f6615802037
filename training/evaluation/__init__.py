"""Drive episodes, score them, film them, and draw the training curve."""
