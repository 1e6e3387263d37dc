"""How experiments are run: configurations, work directories, checkpoints, measurements."""
