"""The Discover paper on CIFAR-10 with classes as clusters, and a small form of it.

Reproduces: Figure 2 of the Discover paper (Section 5, "CIFAR: Classes as clusters"), and the clean
part of its figure of the between-cluster variance.

`:small` (also without a variant) is Fashion-MNIST and a small convolutional network, 1 200 steps of
eight groups of 8 images, pad-crop-flip, L2 5e-4, eleven optimizers with 12 tuning runs each, three
seeds. `:paper` is the published setting, WideResNet-26-10 for 400 epochs. **It was never run**, and
needs accelerators for weeks.

Expected: what the paper reports. All optimizers end near each other. Discover and DiscoverQHM
converge like momentum and QHM, IGT faster and higher than DiscoverIGT; momentum ends at least as
high as Discover. The between-cluster variance falls with Discover, and more slowly with momentum.

Measured: not run yet.

Time: a run takes 9 to 10 seconds of processor time without cluster buffers and 20 to 23 with ten,
in one thread beside much other work; the 165 runs of `:small` are about 45 minutes.

Commands:
    python -m keras_apps.train --config cifar10_classes:small --workdir runs/classes
    python -m keras_apps.train --config cifar10_classes:paper --workdir runs/classes_paper
    python -m keras_apps.train --config cifar10_classes:quick --workdir runs/quick
"""

from keras_apps.experiments import discover_paper
from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_comparison import Experiment

TITLE = "Discover with classes as clusters"


def config() -> Experiment:
    """The small form."""
    return small()


def small() -> Experiment:
    """Eleven optimizers on Fashion-MNIST, eight groups of 8 images in a step."""
    problem = Classification(clusters="classes", crop="pad", flip=True, l2=5e-4)
    experiment = discover_paper.small(TITLE, problem)
    discover_paper.measure_variance(experiment.optimizers)
    return experiment


def paper() -> Experiment:
    """The published setting; never run."""
    problem = Classification(clusters="classes", flip=True)
    experiment = discover_paper.published_cifar(TITLE, problem)
    discover_paper.measure_variance(experiment.optimizers)
    return experiment


def quick() -> Experiment:
    """One optimizer for a few steps, to see that everything works."""
    return discover_paper.quick(small(), ("Discover",))
