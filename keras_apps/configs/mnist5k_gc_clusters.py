"""Discover on three kinds of clusters: classes, clusters of the gradients, and random ones.

Reproduces: nothing published; it joins the two papers. Clusters as in Faghri et al. 2020, found in
the per-example gradients every 100 steps, take the place of the classes in the Discover paper's
comparison (Section 5), beside the random clusters that it has as a control. Ten clusters each; SGD
takes the same batches.

Every cluster is drawn with its share of the data, so that all arms minimise the same loss. After a
clustering the buffers are matched to the new clusters by the examples that they share.

Expected: chance gains nothing; the better clusters explain the gradients, the more Discover gains.

Measured (three seeds), final training loss of SGD and Discover: classes 0.062 and 0.049, gradient
clusters 0.083 and 0.064, chance 0.015 and 0.017. So Discover gains as much on gradient clusters as
on classes (22 % each, lower on every seed) and nothing on chance. But a step that sees one cluster
loses more than Discover gives back: where batches can be mixed (chance is the plain batch), mix
them. Test accuracy is 94 to 96 % everywhere, within its spread.

Why no more: gradient clusters are of very different sizes. After five epochs of plain SGD one of
the ten held 3 388 of the 4 000 examples, with gradients near zero, and three of large gradients
6 to 9. Drawn with their shares, the first fills most of the steps, and the buffers of the others go
stale: over the second half of training 85 % of the between-cluster variance stays, against 30 % for
the classes. At the same learning rate, restarted buffers reach 0.057 (deviation 0.002),
sizes of at most 1.5 N / K 0.058 (0.005), and clusterings every 400 steps 0.067 (0.008), against
0.064 (0.006) here.

Learning rates: seven candidates for every arm, a factor 2 apart, as in `mnist5k_classes`.

Time: 27 minutes on two cores that had much other work to do.

Commands:
    python -m keras_apps.train --config mnist5k_gc_clusters --workdir runs/gc_clusters
    python -m keras_apps.train --config mnist5k_gc_clusters:quick --workdir runs/quick
"""

from typing import Any

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment, GradientClusters

RATES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


def _pair(name: str, clusters: str) -> tuple[OptimizerChoice, OptimizerChoice]:
    """SGD and Discover on the batches of these clusters."""
    shared: dict[str, Any] = {"candidates": RATES, "measures_variance": True, "clusters": clusters}
    return (
        OptimizerChoice(f"SGD{name}", rule="SGD", **shared),
        OptimizerChoice(
            f"Discover{name}",
            base=f"SGD{name}",
            rule="Discover",
            arguments={"alpha": 0.1, "gain": 1.0},
            **shared,
        ),
    )


def config() -> Experiment:
    """SGD and Discover on three kinds of ten clusters, one group of 16 digits in a step."""
    experiment = Experiment(
        title="Classes, gradient clusters and chance as the clusters of Discover",
        problem=Classification(
            source="mnist5k", model="mlp", model_arguments={"hidden_units": [256]}
        ),
    )
    experiment.optimizers = (
        *_pair("Classes", "classes"),
        *_pair("Gradients", "gradients"),
        *_pair("Random", "random"),
    )
    experiment.groups_per_batch = (1,)
    experiment.group_size = 16
    experiment.steps = 1200
    experiment.seeds = (0, 1, 2)
    experiment.schedule = "cosine"
    experiment.evaluate_every = 100
    experiment.checkpoint_every = 300
    experiment.variance_examples = 100
    experiment.gradient_clusters = GradientClusters(every=100)
    return experiment


def quick() -> Experiment:
    """The two on gradient clusters, one seed and a few steps, to see that everything works."""
    experiment = config()
    experiment.optimizers = _pair("Gradients", "gradients")
    for optimizer in experiment.optimizers:
        optimizer.learning_rates = {"1": 0.1}
    experiment.seeds = (0,)
    experiment.steps = 20
    experiment.evaluate_every = 10
    experiment.checkpoint_every = 10
    experiment.variance_examples = 10
    experiment.gradient_clusters = GradientClusters(every=10, sketch_size=32)
    return experiment
