"""Experiments, one a file; `python -m keras_apps.train --list` shows them."""
