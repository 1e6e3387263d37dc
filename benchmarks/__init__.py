"""Ratios against the plain step and against peers, one command each."""
