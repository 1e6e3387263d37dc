"""Apps: `python -m keras_apps.train --config NAME --workdir DIR`, and `keras_apps.study`."""

import os

# The apps show their own progress. This must be set before TensorFlow is first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
