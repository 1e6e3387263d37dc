"""Definitions of what is run: problems, comparisons of optimizers, trajectories.

A new problem is one file here, with a `ProblemDefinition`, and a configuration in `configs/`.
"""
