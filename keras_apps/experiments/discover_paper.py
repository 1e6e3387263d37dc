"""Settings that the configurations of the Discover paper share: optimizers, searches, lengths.

Every optimizer of a comparison gets the same number of tuning runs, over its learning rate and
whatever else it has. The best one has the smallest final loss on the true labels of the training
set, with one seed; the paper takes the highest mean accuracy at the end over five. Equation 4 of
the paper is read in both ways: as a control variate (gain 1) and as many momenta (gain alpha):

    single momentum     gain alpha          gain 1
    SGD                                     DiscoverGain1
    Momentum            Discover
    QHM                 QHDiscover          DiscoverQHM
    IGT                 DiscoverIGTAlpha    DiscoverIGT
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment

# Learning rates by the scale that they have in a rule.
RATES = (0.1, 0.2, 0.4, 0.8, 1.6)
HEAVY_BALL_RATES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
ADAM_RATES = (0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008)
PLAIN_RATES = tuple(rate * 2**k for k in range(6) for rate in (0.025, 0.03, 0.036, 0.042))

ALPHAS = (0.03, 0.1, 0.3)
MOMENTA = (0.9, 0.97, 0.99)
SHARES = (0.7, 0.9, 0.97)
TAILS = (1.0, 2.0, 10.0)

SGD = {"learning_rate": PLAIN_RATES}
MOMENTUM = {"learning_rate": RATES, "momentum": MOMENTA}
ADAM = {"learning_rate": ADAM_RATES, "beta_1": (0.8, 0.9, 0.95)}
QHM = {"learning_rate": RATES, "momentum": MOMENTA, "nu": SHARES}
IGT = {"learning_rate": HEAVY_BALL_RATES, "tail_fraction": TAILS}
DISCOVER = {"learning_rate": RATES, "alpha": ALPHAS}
QH_DISCOVER = {"learning_rate": RATES, "alpha": ALPHAS, "nu": SHARES}
DISCOVER_QHM = {"learning_rate": RATES, "momentum": MOMENTA, "nu": SHARES, "alpha": ALPHAS}
DISCOVER_IGT = {"learning_rate": HEAVY_BALL_RATES, "tail_fraction": TAILS, "alpha": ALPHAS}
DISCOVER_IGT_ALPHA = {"learning_rate": RATES, "tail_fraction": TAILS, "alpha": ALPHAS}

# The published sets of learning rates (Appendix 7.3 and 7.4), which are those of all optimizers.
IMAGENET_RATES = (0.03, 0.1, 0.3)
CIFAR_RATES = (0.001, 0.01, 0.03, 0.1, 0.175)


def rivals() -> tuple[OptimizerChoice, ...]:
    """Return what keeps at most one buffer for all clusters.

    Momentum is in its moving-average form, the same steps as Keras' at 1 - momentum times the rate.
    """
    return (
        OptimizerChoice("SGD", search=SGD),
        OptimizerChoice("Momentum", rule="QHM", arguments={"nu": 1.0}, search=MOMENTUM),
        OptimizerChoice("Adam", search=ADAM),
        OptimizerChoice("QHM", search=QHM),
        OptimizerChoice("IGT", arguments={"momentum": 0.9}, search=IGT),
    )


def family() -> tuple[OptimizerChoice, ...]:
    """Return the forms with a buffer for each cluster, in both readings of Equation 4."""
    return (
        OptimizerChoice("Discover", base="Momentum", arguments={"gain": "alpha"}, search=DISCOVER),
        OptimizerChoice(
            "DiscoverGain1",
            rule="Discover",
            base="SGD",
            arguments={"gain": 1.0},
            search=DISCOVER,
        ),
        OptimizerChoice("QHDiscover", base="QHM", search=QH_DISCOVER),
        OptimizerChoice("DiscoverQHM", base="QHM", arguments={"gain": 1.0}, search=DISCOVER_QHM),
        OptimizerChoice(
            "DiscoverIGTAlpha",
            rule="DiscoverIGT",
            base="IGT",
            arguments={"gain": "alpha", "momentum": 0.0},
            search=DISCOVER_IGT_ALPHA,
        ),
        OptimizerChoice(
            "DiscoverIGT",
            base="IGT",
            arguments={"gain": 1.0, "momentum": 0.9},
            search=DISCOVER_IGT,
        ),
    )


def on_clusters(
    optimizers: Sequence[OptimizerChoice], clusters: Any
) -> tuple[OptimizerChoice, ...]:
    """Return momentum and Discover, in both readings, on the batches of other clusters.

    Args:
        optimizers: Those of a comparison.
        clusters: What their clusters are.
    """
    suffix = clusters.capitalize()
    return tuple(
        dataclasses.replace(
            optimizer,
            name=f"{optimizer.name}{suffix}",
            base=None if optimizer.name == "Momentum" else f"Momentum{suffix}",
            clusters=clusters,
            measures_variance=False,
        )
        for optimizer in optimizers
        if optimizer.name in ("Momentum", "Discover", "DiscoverGain1")
    )


def measure_variance(optimizers: tuple[OptimizerChoice, ...]) -> None:
    """Let the between-cluster variance of SGD, momentum and Discover be measured."""
    for optimizer in optimizers:
        optimizer.measures_variance = optimizer.name in (
            *("SGD", "Momentum"),
            *("Discover", "DiscoverGain1"),
        )


def small(title: str, problem: Classification) -> Experiment:
    """Return a comparison of all optimizers that one core finishes in about an hour.

    Args:
        title: Of the report.
        problem: With the noise, clusters and augmentation; its data and network are set here.
    """
    problem.source = "fashion_mnist"
    problem.model = "convnet"
    problem.evaluation_examples = 5_000
    experiment = Experiment(title, problem, (*rivals(), *family()))
    experiment.groups_per_batch = (8,)
    experiment.group_size = 8
    experiment.steps = 1200
    experiment.seeds = (0, 1, 2)
    experiment.schedule = "cosine"
    experiment.warmup_steps = 5
    experiment.evaluate_every = 200
    experiment.checkpoint_every = 1200
    experiment.steps_per_execution = 100
    experiment.variance_examples = 50
    experiment.tuning_budget = 12
    return experiment


def quick(experiment: Experiment, names: tuple[str, ...] = ("Discover",)) -> Experiment:
    """Return the comparison in a few steps on small digits.

    Args:
        experiment: What `small` returned, which is changed.
        names: Of the optimizers to keep.
    """
    problem = experiment.problem
    assert isinstance(problem, Classification)
    problem.source = "digits"
    problem.model_arguments = {"filters": [4], "dense_units": 8}
    problem.evaluation_examples = 200
    experiment.optimizers = tuple(o for o in experiment.optimizers if o.name in names)
    for optimizer in experiment.optimizers:
        optimizer.search, optimizer.learning_rates = {}, {"2": 0.1}
    experiment.groups_per_batch = (2,)
    experiment.group_size = 4
    experiment.seeds = (0,)
    experiment.steps = 20
    experiment.evaluate_every = 10
    experiment.checkpoint_every = 10
    experiment.variance_examples = 10
    return experiment


def published_cifar(title: str, problem: Classification) -> Experiment:
    """Return the published setting on CIFAR-10 (Appendix 7.4): 400 epochs, batches of 256.

    195 steps are an epoch, without the last 80 images. What the text lost is ours: momenta,
    alpha, nu and the tail fraction.

    Args:
        title: Of the report.
        problem: With the noise, clusters and augmentation; data, network and L2 are set here.
    """
    problem.source = "cifar10"
    problem.model = "wide_resnet"
    problem.model_arguments = {"depth": 26, "width": 10, "dropout": 0.3}
    problem.crop = "pad"
    problem.l2 = 5e-4
    experiment = Experiment(title, problem, _published_optimizers(CIFAR_RATES))
    experiment.groups_per_batch = (8,)  # the cores of four TPUv2
    experiment.group_size = 32
    experiment.steps = 400 * 195
    experiment.evaluate_every = 195
    experiment.checkpoint_every = 10 * 195
    return _published(experiment)


def published_imagenet(title: str, problem: Classification) -> Experiment:
    """Return the published setting on ImageNet (Appendix 7.3): 31 200 steps, batches of 4096.

    What the text lost is ours: momenta, alpha, nu, the tail fraction and the weight decay.

    Args:
        title: Of the report.
        problem: With the noise; data, network, clusters and crop are set here.
    """
    problem.source = "imagenet2012"
    problem.model = "resnet50"
    problem.clusters = "augmentations"
    problem.crop = "inception"
    problem.evaluation_examples = 50_000
    experiment = Experiment(title, problem, _published_optimizers(IMAGENET_RATES))
    experiment.groups_per_batch = (128,)  # the cores of 64 TPUv3
    experiment.group_size = 32
    experiment.steps = 31_200
    experiment.evaluate_every = 312
    experiment.checkpoint_every = 312
    experiment.weight_decay = 1e-4
    experiment.precision = "mixed_bfloat16"
    return _published(experiment)


def _published(experiment: Experiment) -> Experiment:
    experiment.seeds = (0, 1, 2, 3, 4)
    experiment.schedule = "cosine"
    experiment.warmup_steps = 5
    return experiment


def _published_optimizers(rates: tuple[float, ...]) -> tuple[OptimizerChoice, ...]:
    """Return all optimizers with the published learning rates and our values of what was lost."""
    ours: Mapping[str, dict[str, Any]] = {
        "Momentum": {"momentum": 0.9},
        "QHM": {"momentum": 0.999, "nu": 0.7},
        "IGT": {"tail_fraction": 2.0},
        "Discover": {"alpha": 0.1},
        "DiscoverGain1": {"alpha": 0.1},
        "QHDiscover": {"alpha": 0.1, "nu": 0.7},
        "DiscoverQHM": {"alpha": 0.1, "momentum": 0.999, "nu": 0.7},
        "DiscoverIGTAlpha": {"alpha": 0.1, "tail_fraction": 2.0},
        "DiscoverIGT": {"alpha": 0.1, "tail_fraction": 2.0},
    }
    optimizers = (*rivals(), *family())
    for optimizer in optimizers:
        optimizer.search = {}
        optimizer.candidates = rates
        optimizer.arguments = optimizer.arguments | ours.get(optimizer.name, {})
    return optimizers
