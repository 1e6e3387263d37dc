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

Measured (`:small`, three seeds; training loss on images as they are, mean and deviation):

    optimizer                   loss at step 200    at the end       test accuracy (%)
    MomentumClasses             0.93 (0.03)         0.543 (0.015)    77.9 (0.6)
    DiscoverClasses             0.77 (0.06)         0.493 (0.006)    80.9 (0.2)
    DiscoverGain1Classes        0.95 (0.07)         0.545 (0.018)    78.8 (1.3)
    MomentumAugmentations       0.77 (0.03)         0.513 (0.008)    80.7 (0.5)
    DiscoverAugmentations       0.91 (0.03)         0.550 (0.015)    79.5 (1.3)
    DiscoverGain1Augmentations  1.16 (0.06)         0.555 (0.017)    79.3 (0.3)
    MomentumRandom              0.72 (0.01)         0.495 (0.003)    80.5 (0.5)
    DiscoverRandom              0.72 (0.01)         0.498 (0.003)    80.6 (0.5)
    DiscoverGain1Random         1.24 (0.44)         0.520 (0.026)    79.7 (1.4)

On the same batches, Discover ends 3 points of test accuracy above momentum with classes as
clusters, a point below it with augmentations, and level with it by chance; so classes are the best
clusters, and chance comes before augmentations. But with classes its accuracy and loss are no more
than those of momentum on groups by chance, which are plain mixed batches: the buffers give back
what sorting the batches by class has taken. Where batches can be mixed, no buffers are needed.

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
