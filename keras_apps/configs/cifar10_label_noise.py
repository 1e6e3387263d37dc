"""The Discover paper on CIFAR-10 with label noise, classes as clusters.

Reproduces: Figures 4 and 6 of the Discover paper (Section 5, "Learning with noisy labels"; Appendix
7.5). Whenever an image is seen, its label is another class with probability p. The values of p were
lost from the text: 0.5 and 0.2 are ours.

The paper does not say whether a cluster is the true class of its images or the label that training
sees. The clusters are the true classes here; momentum and Discover are run on clusters of seen
labels, too ("Labels" in their names). True classes tell the optimizer something about clean labels
that momentum does not know.

`:small` (also without a variant) is the setting of `cifar10_classes:small` with p = 0.5, `:low` the
same with p = 0.2, `:fixed` with a tenth of the labels wrong once and for all. `:paper` is the
published setting, WideResNet-26-10 for 400 epochs, with p = 0.5. **It was never run.**

Expected: what the paper reports. With high noise the training losses of Discover and its rivals are
almost the same, and the accuracy of Discover on the test set is significantly higher, at every step
and at the end; Discover is better than DiscoverQHM and DiscoverIGT. Adam converges fast and
generalises poorly. With low noise all are near the clean accuracy.

Measured: not run yet.

Time: a run takes 10 seconds of processor time without cluster buffers and 21 with ten, in one
thread beside much other work; the 210 runs of `:small` are about an hour, and so are those of
`:low` and `:fixed`.

Commands:
    python -m keras_apps.train --config cifar10_label_noise:small --workdir runs/noise
    python -m keras_apps.train --config cifar10_label_noise:low --workdir runs/low
    python -m keras_apps.train --config cifar10_label_noise:fixed --workdir runs/fixed
    python -m keras_apps.train --config cifar10_label_noise:paper --workdir runs/paper
    python -m keras_apps.train --config cifar10_label_noise:quick --workdir runs/quick
"""

from keras_apps.experiments import discover_paper
from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_comparison import Experiment

TITLE = "Discover with label noise"


def config() -> Experiment:
    """The small form with half of the labels wrong."""
    return small()


def small(label_noise: float = 0.5) -> Experiment:
    """Fourteen optimizers on Fashion-MNIST, eight groups of 8 images in a step."""
    problem = Classification(clusters="classes", crop="pad", flip=True, l2=5e-4)
    problem.label_noise = label_noise
    experiment = discover_paper.small(TITLE, problem)
    discover_paper.measure_variance(experiment.optimizers)
    on_labels = discover_paper.on_clusters(experiment.optimizers, "labels")
    experiment.optimizers = (*experiment.optimizers, *on_labels)
    return experiment


def low() -> Experiment:
    """The small form with a fifth of the labels wrong."""
    return small(label_noise=0.2)


def fixed() -> Experiment:
    """The small form with a tenth of the labels wrong once and for all."""
    experiment = small(label_noise=0.1)
    assert isinstance(experiment.problem, Classification)
    experiment.problem.label_noise_kind = "fixed"
    return experiment


def paper() -> Experiment:
    """The published setting with half of the labels wrong; never run."""
    problem = Classification(clusters="classes", flip=True, label_noise=0.5)
    return discover_paper.published_cifar(TITLE, problem)


def quick() -> Experiment:
    """Two optimizers for a few steps, to see that everything works."""
    return discover_paper.quick(small(), ("DiscoverGain1", "DiscoverLabels"))
