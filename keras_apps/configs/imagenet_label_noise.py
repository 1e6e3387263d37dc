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

Measured: not run yet.

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
