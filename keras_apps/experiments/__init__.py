"""Definitions of what is run: problems, comparisons of optimizers, trajectories."""
