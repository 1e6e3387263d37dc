"""Discover on CIFAR-10 with three kinds of clusters: classes, augmentations, and chance.

Reproduces: the comparison of clusters in Section 5 of the Discover paper ("Impact of clustering
structure"): the same method with classes, with transformations, and with each image in one of ten
clusters by chance.

`:small` (also without a variant) is the setting of `cifar10_classes:small`, Discover in both
readings and momentum on the batches of each kind. With augmentations as clusters the network is
trained on mixed images, too, so its training loss is not that of the others; the test accuracy is
compared. `:paper` is the published setting, WideResNet-26-10 for 400 epochs. **It was never run.**

Expected: what the paper reports. Classes give the highest accuracy, transformations less, chance
least. Momentum on the same batches says how much of that is the buffers' doing.

Measured: not run yet.

Time: a run takes about 10 seconds of processor time without cluster buffers and 20 with them, in
one thread beside much other work; the 135 runs of `:small` are about 40 minutes.

Commands:
    python -m keras_apps.train --config cifar10_random_clusters:small --workdir runs/clusters
    python -m keras_apps.train --config cifar10_random_clusters:paper --workdir runs/paper
    python -m keras_apps.train --config cifar10_random_clusters:quick --workdir runs/quick
"""

from keras_apps.experiments import discover_paper
from keras_apps.experiments.classification import Classification
from keras_apps.experiments.discover_paper import on_clusters
from keras_apps.experiments.optimizer_comparison import Experiment

TITLE = "Discover with classes, augmentations and chance as clusters"


def _on_three_kinds(experiment: Experiment) -> Experiment:
    """Keep momentum and Discover in both readings, on the batches of each kind of clusters."""
    experiment.optimizers = (
        *on_clusters(experiment.optimizers, "classes"),
        *on_clusters(experiment.optimizers, "augmentations"),
        *on_clusters(experiment.optimizers, "random"),
    )
    return experiment


def config() -> Experiment:
    """The small form."""
    return small()


def small() -> Experiment:
    """Nine optimizers on Fashion-MNIST, eight groups of 8 images in a step."""
    problem = Classification(crop="pad", flip=True, l2=5e-4)
    return _on_three_kinds(discover_paper.small(TITLE, problem))


def paper() -> Experiment:
    """The published setting; never run."""
    return _on_three_kinds(discover_paper.published_cifar(TITLE, Classification(flip=True)))


def quick() -> Experiment:
    """One optimizer for a few steps, to see that everything works."""
    return discover_paper.quick(small(), ("DiscoverRandom",))
