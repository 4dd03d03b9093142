"""Training: the loop, its steps, and what watches it."""
