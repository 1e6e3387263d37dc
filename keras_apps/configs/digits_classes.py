"""A first look at Discover on scikit-learn's 8x8 digits, with the ten classes as clusters.

Reproduces: the comparison of optimizers of the Discover paper (Section 5) at the size of a toy, and
shows the whole procedure: learning rates are chosen among three candidates, then compared.

Expected: with one group in a step, the control variate lowers the training loss that SGD and Adam
reach.

Time: 64 seconds of processor time.

Command:
    python -m keras_apps.train --config digits_classes --workdir runs/digits
"""

import dataclasses

from keras_apps.experiment import Experiment, OptimizerChoice
from keras_apps.problems import Classification

ALPHA = {"alpha": 0.1}
PLAIN_RATES = (0.05, 0.1, 0.2)
MOMENTUM_RATES = (0.005, 0.01, 0.02)
ADAM_RATES = (0.001, 0.002, 0.004)


def config() -> Experiment:
    """SGD, momentum and Adam, and Discover over SGD and Adam; one group of 16 in a step."""
    return Experiment(
        title="Ten classes of small digits as clusters",
        problem=Classification(
            source="digits", model="mlp", model_arguments={"hidden_units": [64]}
        ),
        optimizers=(
            OptimizerChoice("SGD", "SGD", candidates=PLAIN_RATES, measures_variance=True),
            OptimizerChoice(
                "Momentum",
                "SGD",
                {"momentum": 0.9},
                candidates=MOMENTUM_RATES,
                measures_variance=True,
            ),
            OptimizerChoice("Adam", "Adam", candidates=ADAM_RATES),
            OptimizerChoice(
                "Discover",
                "Discover",
                ALPHA,
                base="SGD",
                candidates=PLAIN_RATES,
                measures_variance=True,
            ),
            OptimizerChoice(
                "DiscoverAdam",
                "DiscoverOver",
                ALPHA | {"over": "Adam"},
                base="Adam",
                candidates=ADAM_RATES,
            ),
        ),
        groups_per_batch=(1,),
        steps=600,
        evaluate_every=50,
        checkpoint_every=300,
    )


def quick() -> Experiment:
    """Three optimizers, two candidates each, few steps: to see that everything works."""
    full = config()
    chosen = [o for o in full.optimizers if o.name in ("SGD", "Momentum", "Discover")]
    return dataclasses.replace(
        full,
        optimizers=tuple(dataclasses.replace(o, candidates=o.candidates[:2]) for o in chosen),
        seeds=(0,),
        steps=40,
        evaluate_every=20,
        checkpoint_every=20,
        variance_examples=20,
    )
