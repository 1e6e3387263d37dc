"""The Discover paper on CIFAR-10 with augmentations as clusters, clean and with label noise.

Reproduces: Figures 7 and 8 of the Discover paper (Appendix 7.7). Every image stands in three
clusters: flipped at random, mixed by Mixup, and by CutMix; a group has one of the three and one
mixing ratio, and mixes its own images.

`:small` (also without a variant) is the setting of `cifar10_classes:small` with these clusters,
`:noisy` the same with half of the labels wrong at each visit (the paper's value was lost). `:paper`
is the published setting, WideResNet-26-10 for 400 epochs, clean. **It was never run.** The paper
tunes nothing anew here; every optimizer is tuned on these clusters in ours.

Expected: what the paper reports. With clean labels the forms of Discover do as their vanilla
counterparts; with noisy labels they do significantly worse.

Measured (`:small`, three seeds; training loss on images as they are, mean and deviation):

    optimizer               loss at step 200    at the end       test accuracy (%)
    SGD                     0.96 (0.07)         0.553 (0.006)    78.9 (0.5)
    Momentum                0.77 (0.03)         0.513 (0.008)    80.7 (0.5)
    Adam                    0.73 (0.06)         0.486 (0.005)    82.3 (0.3)
    QHM                     0.75 (0.01)         0.494 (0.014)    81.6 (0.9)
    IGT                     0.74 (0.03)         0.548 (0.005)    79.2 (0.1)
    Discover                0.91 (0.03)         0.550 (0.015)    79.5 (1.3)
    DiscoverGain1           1.16 (0.06)         0.555 (0.017)    79.3 (0.3)
    QHDiscover              0.77 (0.03)         0.509 (0.004)    81.2 (0.3)
    DiscoverQHM             0.73 (0.02)         0.484 (0.017)    82.0 (1.2)
    DiscoverIGTAlpha        0.75 (0.01)         0.563 (0.002)    78.2 (0.4)
    DiscoverIGT             0.81 (0.03)         0.584 (0.022)    77.5 (0.8)

Eight groups mostly hold all three clusters, and there is little between these to remove. Discover
ends 7 % above momentum in training loss and a point below it in test accuracy, DiscoverIGT likewise
beside IGT; DiscoverQHM ends where Adam and QHM do. The paper has all forms at their counterparts'
level.

Measured (`:noisy`, likewise; training loss on true labels):

    optimizer                   loss at step 200    at the end       test accuracy (%)
    SGD                         1.66 (0.15)         1.216 (0.005)    74.6 (0.2)
    Momentum                    1.49 (0.07)         1.213 (0.003)    74.4 (0.3)
    Adam                        1.42 (0.04)         1.217 (0.009)    74.4 (0.4)
    QHM                         1.47 (0.10)         1.202 (0.008)    74.8 (0.1)
    IGT                         1.60 (0.15)         1.214 (0.025)    74.1 (1.0)
    Discover                    1.68 (0.14)         1.235 (0.015)    72.9 (0.9)
    DiscoverGain1               1.63 (0.09)         1.217 (0.014)    74.3 (1.2)
    QHDiscover                  1.60 (0.03)         1.234 (0.013)    73.8 (0.7)
    DiscoverQHM                 1.50 (0.11)         1.212 (0.004)    74.3 (0.3)
    DiscoverIGTAlpha            1.61 (0.01)         1.270 (0.009)    72.9 (1.1)
    DiscoverIGT                 1.61 (0.07)         1.226 (0.028)    73.4 (1.3)

Here the paper's order shows: all forms end below their counterparts in test accuracy, Discover by
1.5 points, QHDiscover by 1.0, DiscoverIGT by 0.7; the spread of the seeds is 0.2 to 1.3.

Time: a run takes 10 seconds of processor time without cluster buffers and 18 with three, in one
thread beside much other work; the 165 runs of `:small` are about 40 minutes, and so are those of
`:noisy`.

Commands:
    python -m keras_apps.train --config cifar10_augmentations:small --workdir runs/augmentations
    python -m keras_apps.train --config cifar10_augmentations:noisy --workdir runs/noisy
    python -m keras_apps.train --config cifar10_augmentations:paper --workdir runs/paper
    python -m keras_apps.train --config cifar10_augmentations:quick --workdir runs/quick
"""

from keras_apps.experiments import discover_paper
from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_comparison import Experiment

TITLE = "Discover with augmentations as clusters"


def config() -> Experiment:
    """The small form with clean labels."""
    return small()


def small(label_noise: float = 0.0) -> Experiment:
    """Eleven optimizers on Fashion-MNIST, eight groups of 8 images in a step."""
    problem = Classification(clusters="augmentations", crop="pad", l2=5e-4)
    problem.label_noise = label_noise
    return discover_paper.small(TITLE, problem)


def noisy() -> Experiment:
    """The small form with half of the labels wrong at each visit."""
    return small(label_noise=0.5)


def paper() -> Experiment:
    """The published setting; never run."""
    return discover_paper.published_cifar(TITLE, Classification(clusters="augmentations"))


def quick() -> Experiment:
    """One optimizer for a few steps with label noise, to see that everything works."""
    return discover_paper.quick(noisy(), ("Discover",))
