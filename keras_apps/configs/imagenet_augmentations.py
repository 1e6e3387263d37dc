"""The Discover paper on ImageNet with augmentations as clusters, and a small form of it.

Reproduces: Figure 1 of the Discover paper (Section 5, "ImageNet: Data augmentation methods as
clusters"; Appendix 7.3). Every image stands in three clusters: flipped at random, mixed by Mixup,
and by CutMix; a group has one of the three and one mixing ratio, and mixes its own images.

`:small` (also without a variant) is Fashion-MNIST and a small convolutional network, 1 200 steps of
eight groups of 8 images, Inception's crop, decoupled weight decay, eleven optimizers with 12 tuning
runs each, three seeds. `:paper` is the published setting, ResNet-50 for 31 200 steps of 4 096
images. **It was never run**, and needs accelerators for weeks; ImageNet stays on the disk, prepared
by you (`keras_apps.sources.imagenet2012` says how). A test runs it for a few steps on stand-ins.

Expected: what the paper reports. The forms of Discover converge faster at first than their vanilla
counterparts; Discover and DiscoverIGT end like momentum and IGT, DiscoverQHM above QHM.

Measured (`:small`, three seeds; training loss on images as they are, mean and deviation):

    optimizer               loss at step 200    at the end       test accuracy (%)
    SGD                     1.15 (0.41)         0.549 (0.040)    79.8 (1.4)
    Momentum                0.88 (0.03)         0.511 (0.021)    81.3 (0.6)
    Adam                    0.67 (0.01)         0.452 (0.018)    83.6 (0.5)
    QHM                     0.79 (0.05)         0.473 (0.012)    82.9 (0.6)
    IGT                     0.77 (0.04)         0.508 (0.021)    81.5 (0.8)
    Discover                0.84 (0.10)         0.540 (0.031)    80.2 (1.0)
    DiscoverGain1           0.94 (0.14)         0.541 (0.019)    80.0 (0.7)
    QHDiscover              0.73 (0.03)         0.495 (0.012)    81.9 (0.4)
    DiscoverQHM             0.71 (0.04)         0.489 (0.033)    82.1 (1.2)
    DiscoverIGTAlpha        0.77 (0.05)         0.545 (0.010)    80.0 (0.0)
    DiscoverIGT             0.76 (0.05)         0.526 (0.022)    80.6 (0.6)

Adam is first from the beginning to the end; of the others QHM. At first QHDiscover and DiscoverQHM
are 7 and 9 % ahead of QHM, about the spread of the seeds, the other forms level with their
counterparts or behind. At the end all forms are 3 to 7 % above them in training loss and 0.8 to
1.5 points below in test accuracy, DiscoverQHM, too, which the paper has above QHM.

Time: a run takes about 10 seconds of processor time without cluster buffers and 17 with three, in
one thread beside much other work; the 165 runs of `:small` are about 40 minutes.

Commands:
    python -m keras_apps.train --config imagenet_augmentations:small --workdir runs/imagenet
    python -m keras_apps.train --config imagenet_augmentations:paper --workdir runs/imagenet_paper
    python -m keras_apps.train --config imagenet_augmentations:quick --workdir runs/quick
"""

from keras_apps.experiments import discover_paper
from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_comparison import Experiment

TITLE = "Discover with augmentations as clusters and Inception crops"


def config() -> Experiment:
    """The small form."""
    return small()


def small() -> Experiment:
    """Eleven optimizers on Fashion-MNIST, eight groups of 8 images in a step."""
    problem = Classification(clusters="augmentations", crop="inception")
    experiment = discover_paper.small(TITLE, problem)
    experiment.weight_decay = 1e-4
    return experiment


def paper() -> Experiment:
    """The published setting; never run."""
    return discover_paper.published_imagenet(TITLE, Classification())


def quick() -> Experiment:
    """One optimizer for a few steps, to see that everything works."""
    return discover_paper.quick(small(), ("DiscoverIGT",))
