"""The convergence theorem made visible: least squares with an optimum of its own in each cluster.

Reproduces: what Theorem 1 of the Discover paper says (Section 4). With a fixed learning rate the
plain methods stall at a risk that is proportional to the variance within and between clusters; the
forms with the control variate stall at the part within the clusters alone.

Expected: the steady excess risk (mean over the second half of the steps) of Discover is at most
1/50 of SGD's, that of DiscoverIGT at most 1/20 of IGT's; the measured risks lie on the predictions,
which `keras_apps.least_squares` derives from the second moments of the linear recursion.

Measured (three seeds): 1/240 for Discover, 1/213 for DiscoverQHM and 1/187 for DiscoverIGT; within
17 % of the predictions.

Time: 55 seconds of processor time.

Command:
    python -m keras_apps.train --config clustered_least_squares --workdir runs/least_squares
"""

import dataclasses
from typing import Any

from keras_apps.experiment import Experiment, OptimizerChoice
from keras_apps.problems import LeastSquares

ALPHA = {"alpha": 0.1}
QHM = {"momentum": 0.9, "nu": 0.7}
IGT = {"momentum": 0.9, "tail_fraction": 2.0}


def _optimizer(
    rule: str, arguments: dict[str, float] | None = None, **fields: Any
) -> OptimizerChoice:
    return OptimizerChoice(rule, rule, arguments or {}, learning_rates={"4": 0.1}, **fields)


def config() -> Experiment:
    """Ten clusters in twenty dimensions; four groups of eight examples in a step."""
    return Experiment(
        title="Least squares with an optimum of its own in each cluster",
        problem=LeastSquares(),
        optimizers=(
            _optimizer("SGD", measures_variance=True),
            _optimizer("QHM", QHM),
            _optimizer("IGT", IGT),
            _optimizer("Discover", ALPHA, base="SGD", measures_variance=True),
            _optimizer("DiscoverQHM", ALPHA | QHM, base="QHM"),
            _optimizer("DiscoverIGT", ALPHA | IGT, base="IGT"),
        ),
        groups_per_batch=(4,),
        group_size=8,
        steps=1000,
        schedule="constant",
        evaluate_every=20,
        checkpoint_every=500,
        steps_per_execution=20,
        variance_examples=100,
    )


def quick() -> Experiment:
    """One seed and fewer steps, to see that everything works."""
    return dataclasses.replace(
        config(), seeds=(0,), steps=200, checkpoint_every=100, variance_examples=20
    )
