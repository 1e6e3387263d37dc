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

Measured (`:small`, three seeds; training loss on images as they are, mean and deviation):

    optimizer               loss at step 200    at the end       test accuracy (%)
    SGD                     1.17 (0.12)         0.560 (0.012)    77.4 (0.6)
    Momentum                0.93 (0.03)         0.543 (0.015)    77.9 (0.6)
    Adam                    0.76 (0.00)         0.518 (0.034)    78.8 (1.4)
    QHM                     1.07 (0.07)         0.534 (0.030)    78.6 (2.0)
    IGT                     0.86 (0.06)         0.556 (0.010)    77.4 (0.2)
    Discover                0.77 (0.06)         0.493 (0.006)    80.9 (0.2)
    DiscoverGain1           0.95 (0.07)         0.545 (0.018)    78.8 (1.3)
    QHDiscover              0.73 (0.04)         0.478 (0.010)    81.3 (0.7)
    DiscoverQHM             0.77 (0.03)         0.526 (0.025)    78.8 (1.6)
    DiscoverIGTAlpha        0.72 (0.01)         0.543 (0.007)    78.6 (0.2)
    DiscoverIGT             0.75 (0.02)         0.512 (0.008)    79.6 (0.1)

With the buffers as momenta (gain alpha), Discover and QHDiscover are ahead of momentum and QHM from
the first evaluation on, and end 5 and 8 % below the best rival (Adam) in training loss and 2.2 and
2.5 points above it in test accuracy. So the classes did help here at the end, too, which the paper
does not claim. With gain 1 Discover ends level with momentum and DiscoverQHM with QHM.
DiscoverIGT is above IGT, not below it. At the weights that each ends with, the between-cluster
variance without a buffer is 17 for SGD, 10 for momentum, 22 for Discover and 31 with gain 1; with
their buffers it is 7.5 and 10.

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
