"""The convergence theorem made visible: least squares with an optimum of its own in each cluster.

Reproduces: what Theorem 1 of the Discover paper says (Section 4). With a fixed learning rate the
plain methods stall at a risk that is proportional to the variance within and between clusters; the
forms with the control variate stall at the part within the clusters alone.

Expected: the steady excess risk (mean over the second half of the steps) of Discover is at most
1/50 of SGD's, that of DiscoverIGT at most 1/20 of IGT's; the measured risks lie on the predictions,
which `experiments/least_squares_theory.py` derives from the second moments of the recursion, and
`experiments/discover_theory.py` for Discover with its buffers and any gain.

Measured (three seeds): 1/242 for Discover, 1/208 for DiscoverQHM and 1/216 for DiscoverIGT; within
18 % of the predictions. With the gains 1, 0.3 and 0.1 the steady risk is 7.6e-4, 6.1e-4 and 7.3e-4
(predicted 7.6e-4, 5.9e-4 and 7.0e-4), and twice of it is reached at step 120, 180 and 200
(predicted 116, 170 and 207): at the same learning rate a small gain averages more and starts later.

Time: 70 seconds of processor time.

Command:
    python -m keras_apps.train --config clustered_least_squares --workdir runs/least_squares
"""

from typing import Any

from keras_apps.experiments.least_squares import LeastSquares
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment

ALPHA = {"alpha": 0.1, "gain": 1.0}
QHM = {"momentum": 0.9, "nu": 0.7}
IGT = {"momentum": 0.9, "tail_fraction": 2.0}


def _optimizer(name: str, **fields: Any) -> OptimizerChoice:
    return OptimizerChoice(name, learning_rates={"4": 0.1}, **fields)


def config() -> Experiment:
    """Ten clusters in twenty dimensions; four groups of eight examples in a step."""
    experiment = Experiment(
        title="Least squares with an optimum of its own in each cluster", problem=LeastSquares()
    )
    experiment.optimizers = (
        _optimizer("SGD", measures_variance=True),
        _optimizer("QHM", arguments=QHM),
        _optimizer("IGT", arguments=IGT),
        _optimizer("Discover", base="SGD", arguments=ALPHA, measures_variance=True),
        _optimizer("DiscoverGain30", rule="Discover", base="SGD", arguments=ALPHA | {"gain": 0.3}),
        _optimizer("DiscoverGain10", rule="Discover", base="SGD", arguments=ALPHA | {"gain": 0.1}),
        _optimizer("DiscoverQHM", base="QHM", arguments=ALPHA | QHM),
        _optimizer("DiscoverIGT", base="IGT", arguments=ALPHA | IGT),
    )
    experiment.groups_per_batch = (4,)
    experiment.group_size = 8
    experiment.steps = 1000
    experiment.schedule = "constant"
    experiment.evaluate_every = 20
    experiment.checkpoint_every = 500
    experiment.steps_per_execution = 20
    experiment.variance_examples = 100
    return experiment


def quick() -> Experiment:
    """One seed and fewer steps, to see that everything works."""
    experiment = config()
    experiment.seeds = (0,)
    experiment.steps = 200
    experiment.checkpoint_every = 100
    experiment.variance_examples = 20
    return experiment
