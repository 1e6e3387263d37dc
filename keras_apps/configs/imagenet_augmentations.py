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

Measured: not run yet.

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
