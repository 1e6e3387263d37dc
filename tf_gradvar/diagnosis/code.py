"""Lines of Python that turn a way of lowering the variance on.

They take up where the report ends: `model` is the compiled model, `x` and `y` are the arrays, and
`report` is what `tf_gradvar.diagnose(model, x, y, ...)` returned.
"""

from __future__ import annotations

from tf_gradvar.diagnosis.remedies import ALPHA, GroupSteps

# Of a Discover that takes the place of an optimizer whose rate is not known.
LEARNING_RATE = 0.01


def larger_batch(batch_size: int) -> str:
    """Return the lines for larger batches."""
    return f"model.fit(x, y, batch_size={batch_size})"


def strata(groups: str, batch_size: int) -> str:
    """Return the lines for batches from every group; `groups` is code."""
    return (
        f"groups = {groups}\n"
        "batches = tf_gradvar.stratified_batches((x, y), groups, "
        f"batch_size={batch_size}, seed=0)\n"
        f"model.fit(batches, steps_per_epoch=len(groups) // {batch_size})"
    )


def clusters(count: int) -> str:
    """Return the lines for strata by clusters of the gradients."""
    return (
        f"clusters = tf_gradvar.GradientClustering({count}, seed=0).fit(model, x, y)\n"
        "batches = tf_gradvar.stratified_batches((x, y), clusters, "
        f"batch_size={count}, seed=0)\n"
        f"model.fit(batches, steps_per_epoch=len(clusters.assignments) // {count})"
    )


def discover(groups: str, num_clusters: int, steps: GroupSteps, learning_rate: float | None) -> str:
    """Return the lines for Discover; `groups` is code."""
    batch_size = steps.groups * steps.group_size
    # Keras refuses a rate of 1 for one of 1.0.
    rate = float(f"{LEARNING_RATE if learning_rate is None else learning_rate:.6g}")
    return (
        f"groups = numpy.unique({groups}, return_inverse=True)[1]\n"
        f"shares = numpy.bincount(groups) / len(groups)\n"
        f"batches = tf_gradvar.cluster_batches((x, y), groups, num_clusters={num_clusters}, "
        f"group_size={steps.group_size}, groups_per_batch={steps.groups}, "
        "cluster_probabilities=shares, seed=0)\n"
        "loss, model = model.loss, tf_gradvar.ClusterModel.from_model(model)\n"
        f"model.compile(tf_gradvar.Discover({rate!r}, {num_clusters}, alpha={ALPHA:g}, gain=1, "
        "cluster_probabilities=shares), loss)\n"
        f"model.fit(batches, steps_per_epoch=len(groups) // {batch_size})"
    )


def imports(lines: str) -> str:
    """Return the lines after the imports that they need."""
    needed = [name for name in ("numpy", "tf_gradvar") if f"{name}." in lines]
    return "".join(f"import {name}\n" for name in needed) + lines
