"""A report on gradients: how noisy they are, why, and what would help."""
