"""Apps: `python -m keras_apps.APP --config NAME`; APP is train, study or cluster_picture."""

import os
import sys

# The apps show their own progress. This must be set before TensorFlow is first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

if sys.argv[:1] == ["-m"]:  # Python sets this while it looks for the app that it is to run.
    from keras_apps import requirements

    if missing := requirements.missing(sys.orig_argv):
        sys.exit(f"python -m {__name__}: error: {missing}")
