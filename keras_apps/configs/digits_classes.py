"""A first look at Discover on scikit-learn's 8x8 digits, with the ten classes as clusters.

Reproduces: the comparison of optimizers of the Discover paper (Section 5) at the size of a toy, and
shows the whole procedure: learning rates are chosen among three candidates, then compared.

Expected: with one group in a step, the control variate lowers the training loss that SGD and Adam
reach.

Time: 64 seconds of processor time.

Command:
    python -m keras_apps.train --config digits_classes --workdir runs/digits
"""

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment

ALPHA = {"alpha": 0.1, "gain": 1.0}
PLAIN_RATES = (0.05, 0.1, 0.2)
MOMENTUM_RATES = (0.005, 0.01, 0.02)
ADAM_RATES = (0.001, 0.002, 0.004)


def config() -> Experiment:
    """SGD, momentum and Adam, and Discover over SGD and Adam; one group of 16 in a step."""
    experiment = Experiment(
        title="Ten classes of small digits as clusters",
        problem=Classification(
            source="digits", model="mlp", model_arguments={"hidden_units": [64]}
        ),
    )
    experiment.optimizers = (
        OptimizerChoice("SGD", candidates=PLAIN_RATES, measures_variance=True),
        OptimizerChoice(
            "Momentum",
            rule="SGD",
            arguments={"momentum": 0.9},
            candidates=MOMENTUM_RATES,
            measures_variance=True,
        ),
        OptimizerChoice("Adam", candidates=ADAM_RATES),
        OptimizerChoice(
            "Discover",
            base="SGD",
            arguments=ALPHA,
            candidates=PLAIN_RATES,
            measures_variance=True,
        ),
        OptimizerChoice(
            "DiscoverAdam",
            base="Adam",
            rule="DiscoverOver",
            arguments=ALPHA | {"over": "Adam"},
            candidates=ADAM_RATES,
        ),
    )
    experiment.groups_per_batch = (1,)
    experiment.steps = 600
    experiment.evaluate_every = 50
    experiment.checkpoint_every = 300
    return experiment


def quick() -> Experiment:
    """Three optimizers, two candidates each, few steps: to see that everything works."""
    experiment = config()
    experiment.optimizers = tuple(
        optimizer for optimizer in experiment.optimizers if "Adam" not in optimizer.name
    )
    for optimizer in experiment.optimizers:
        optimizer.candidates = optimizer.candidates[:2]
    experiment.seeds = (0,)
    experiment.steps = 40
    experiment.evaluate_every = 20
    experiment.checkpoint_every = 20
    experiment.variance_examples = 20
    return experiment
