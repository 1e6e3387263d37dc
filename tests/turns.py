"""Tests that take turns: a third of the cases of the costliest files each day.

`make test-all` (`CASES=all`) runs all of them, `CASES=0`, `1` and `2` one of the thirds. Cases of
one name are in the same third in all files.
"""

import datetime
import os
import zlib

SHARES = 3
# Set once, for the processes of the tests, too: a day may end between them.
os.environ.setdefault("CASES", str(datetime.date.today().toordinal() % SHARES))

FILES = {
    "callbacks": "between_cluster_variance common_ground gradient_variance recluster",
    "clustering": "gradient_clustering passes",
    "data": "cluster_batches loss_shapes owned_batches reassign stratified_batches",
    "diagnosis": "diagnose",
    "estimators": "draws exact subset",
    "keras_apps": "devices images_on_disk study sweep train",
    "keras_apps/augmentation": "pipeline",
    "keras_apps/models": "networks",
    "keras_apps/reporting": "comparison_report",
    "keras_apps/running": "checkpointing faults gradient_clusters measured_trajectory tuning_runs",
    "optimizers": "buffers composition contract low_rank oracle recluster reductions saving "
    "tensorflow update_rule whole_stacks",
    "per_example": "against_loop",
    "per_example/forms": "centres sketch",
    "per_example/recording": "capture compiled independence memory",
    "per_example/rules": "named_rules recurrent",
    "training": "cluster_model failed_first_step features group_gradients preprocessing_inside "
    "ranks sparse_gradients true_weights",
}
TAKING_TURNS = {
    f"tests/{folder}/test_{name}.py" for folder, names in FILES.items() for name in names.split()
}


def is_on(text):
    """Return whether it is the turn of what this text names."""
    return os.environ["CASES"] in ("all", str(zlib.crc32(text.encode()) % SHARES))


def is_of_today(node_id):
    """Return whether a test runs today."""
    path, _, name = node_id.partition("::")
    _, _, case = name.partition("[")
    return path not in TAKING_TURNS or is_on(case or name)
