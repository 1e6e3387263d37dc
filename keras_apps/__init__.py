"""Apps: `python -m keras_apps.APP --config NAME`; APP is train, study or cluster_picture."""

import os

# The apps show their own progress. This must be set before TensorFlow is first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from keras_apps import requirements

requirements.check()
