"""Experiments, one a file; `--list` of an app shows its own."""
