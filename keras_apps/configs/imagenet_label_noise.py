"""The Discover paper on ImageNet with label noise, augmentations as clusters.

Reproduces: Figure 3 of the Discover paper (Section 5, "Learning with noisy labels"; Appendix 7.6).
Whenever an image is seen, its label is another class with probability p, and then mixed. The values
of p were lost from the text: 0.5 and 0.2 are ours.

`:small` (also without a variant) is the setting of `imagenet_augmentations:small` with p = 0.5,
`:low` the same with p = 0.2. `:paper` is the published setting with p = 0.5, ResNet-50 for 31 200
steps of 4 096 images. **It was never run**; see `imagenet_augmentations`. The paper tunes the
learning rate alone anew here.

Expected: what the paper reports. The forms of Discover end above their vanilla counterparts. Adam
converges fast and generalises poorly.

Measured (`:small`, three seeds; training loss on true labels, mean and deviation):

    optimizer                   loss at step 200    at the end       test accuracy (%)
    SGD                         1.65 (0.10)         1.255 (0.002)    73.8 (0.6)
    Momentum                    1.55 (0.01)         1.277 (0.004)    73.0 (0.4)
    Adam                        1.38 (0.04)         1.219 (0.022)    75.0 (0.9)
    QHM                         1.47 (0.08)         1.250 (0.016)    74.8 (1.0)
    IGT                         1.63 (0.03)         1.272 (0.005)    73.7 (0.6)
    Discover                    1.69 (0.03)         1.256 (0.011)    73.2 (0.8)
    DiscoverGain1               1.79 (0.12)         1.259 (0.044)    73.6 (1.6)
    QHDiscover                  1.51 (0.03)         1.243 (0.002)    74.2 (0.7)
    DiscoverQHM                 1.51 (0.02)         1.251 (0.011)    73.6 (1.2)
    DiscoverIGTAlpha            1.76 (0.07)         1.345 (0.090)    69.0 (5.3)
    DiscoverIGT                 1.71 (0.06)         1.284 (0.016)    71.9 (0.7)

Adam is first from the beginning to the end and generalises best, against the paper. Discover and
QHDiscover end 1.7 and 0.5 % below their counterparts in training loss, DiscoverIGT behind IGT; in
test accuracy no form is above its counterpart beyond the spread of the seeds.

Time: as `imagenet_augmentations`, about 40 minutes for the 165 runs of `:small`, and as many for
`:low`.

Commands:
    python -m keras_apps.train --config imagenet_label_noise:small --workdir runs/noise
    python -m keras_apps.train --config imagenet_label_noise:low --workdir runs/low
    python -m keras_apps.train --config imagenet_label_noise:paper --workdir runs/paper
    python -m keras_apps.train --config imagenet_label_noise:quick --workdir runs/quick
"""

from keras_apps.experiments import discover_paper
from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_comparison import Experiment

TITLE = "Discover with label noise, augmentations as clusters"


def config() -> Experiment:
    """The small form with half of the labels wrong."""
    return small()


def small(label_noise: float = 0.5) -> Experiment:
    """Eleven optimizers on Fashion-MNIST, eight groups of 8 images in a step."""
    problem = Classification(clusters="augmentations", crop="inception")
    problem.label_noise = label_noise
    experiment = discover_paper.small(TITLE, problem)
    experiment.weight_decay = 1e-4
    return experiment


def low() -> Experiment:
    """The small form with a fifth of the labels wrong."""
    return small(label_noise=0.2)


def paper() -> Experiment:
    """The published setting with half of the labels wrong; never run."""
    return discover_paper.published_imagenet(TITLE, Classification(label_noise=0.5))


def quick() -> Experiment:
    """One optimizer for a few steps, to see that everything works."""
    return discover_paper.quick(small(), ("QHDiscover",))
