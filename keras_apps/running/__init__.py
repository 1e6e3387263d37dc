"""Runs of experiments: configurations, work directories, checkpoints, measurements."""
