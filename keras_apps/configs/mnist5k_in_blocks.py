"""Data that arrive class after class: Discover where batches cannot be mixed.

Reproduces: nothing published. It is the strongest use of Discover that we found. A stream that is
read from one shard, or sent by one source, for a while shows a step one cluster only, and the next
steps the same one. A shuffle buffer that holds several shards mixes them; a buffer of gradients for
each shard does without it.

A class is drawn, stays for ten steps of 16 digits, and then the next one is drawn (`run_length`).
 `:shuffled` is the same with batches of any examples, `:longer` with
blocks of thirty steps. Every optimizer gets 16 tuning runs over all its parameters.

Expected: SGD and momentum follow each class for as long as it stays; the K buffers remember the
others. The longer the blocks, the less they know of the present.

Measured (three seeds, final training loss, mean and deviation): Discover 0.026 (0.006; gain 0.1,
alpha 0.03), DiscoverOver(Adam) 0.090 (0.018; gain 1), QHM 0.095 (0.023; momentum 0.999, nu 0.9),
Adam 0.128 (0.013), momentum 0.148 (0.018; the best one is 0.5), SGD 0.152 (0.019). Discover is 70 %
below QHM and 82 % below SGD, on every seed, for eleven copies of 203 530 weights. Test accuracy is
94.1 % (0.5 points) for Discover, 92.6 to 93.0 % for the others.

`:shuffled`: QHM 0.0005 (0.0001), Adam 0.0028 (0.0003), momentum 0.0030 (0.0004), SGD 0.0039
(0.0006), test accuracy 94.6 to 95.9 %. So whoever can shuffle should: the buffers make up for a
part of it only.

`:longer`: DiscoverOver(Adam) 0.297 (0.027), Discover 0.339 (0.048), Adam 0.546 (0.072), momentum
0.608 (0.058), SGD 0.625 (0.098), QHM 0.766 (0.048). Both forms are below Adam on every seed, by 45
and 38 %; test accuracy is 87.6 % (0.6 points) and 85.7 % (1.9) against 81.1 % for Adam (4.1) and
74.5 % for SGD (3.7).

Time: 9 minutes, in one thread beside other work.

Commands:
    python -m keras_apps.train --config mnist5k_in_blocks --workdir runs/blocks
    python -m keras_apps.train --config mnist5k_in_blocks:longer --workdir runs/longer
    python -m keras_apps.train --config mnist5k_in_blocks:shuffled --workdir runs/shuffled
    python -m keras_apps.train --config mnist5k_in_blocks:quick --workdir runs/quick
"""

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment

RATES = (0.025, 0.05, 0.1, 0.2, 0.4)
ADAM_RATES = (0.00025, 0.0005, 0.001, 0.002, 0.004)
MOMENTA = (0.9, 0.97, 0.99)
PLAIN_RATES = tuple(rate * 2**k for k in range(5) for rate in (0.0125, 0.015, 0.018, 0.021))


def config() -> Experiment:
    """Six optimizers, blocks of ten steps, three seeds."""
    problem = Classification(source="mnist5k", model="mlp", model_arguments={"hidden_units": [256]})
    experiment = Experiment("Digits that arrive class after class", problem)
    experiment.optimizers = (
        OptimizerChoice("SGD", search={"learning_rate": PLAIN_RATES}),
        OptimizerChoice(
            "Momentum",
            rule="QHM",
            arguments={"nu": 1.0},
            search={"learning_rate": RATES, "momentum": (0.5, *MOMENTA)},
        ),
        OptimizerChoice(
            "QHM",
            search={"learning_rate": RATES, "momentum": (*MOMENTA, 0.999), "nu": (0.7, 0.9, 0.97)},
        ),
        OptimizerChoice(
            "Adam", search={"learning_rate": ADAM_RATES, "beta_1": (0.0, 0.5, 0.9, 0.97)}
        ),
        OptimizerChoice(
            "Discover",
            base="SGD",
            search={"learning_rate": RATES, "gain": (1.0, 0.3, 0.1), "alpha": (0.03, 0.1, 0.3)},
        ),
        OptimizerChoice(
            "DiscoverAdam",
            base="Adam",
            rule="DiscoverOver",
            arguments={"over": "Adam"},
            search={
                "learning_rate": ADAM_RATES,
                "gain": (1.0, 0.3, 0.1),
                "alpha": (0.03, 0.1, 0.3),
            },
        ),
    )
    experiment.groups_per_batch = (1,)
    experiment.group_size = 16
    experiment.steps = 2000
    experiment.run_length = 10
    experiment.seeds = (0, 1, 2)
    experiment.schedule = "cosine"
    experiment.evaluate_every = 200
    experiment.checkpoint_every = 2000
    experiment.steps_per_execution = 100
    experiment.tuning_budget = 16
    return experiment


def longer() -> Experiment:
    """Blocks of thirty steps."""
    experiment = config()
    experiment.run_length = 30
    return experiment


def shuffled() -> Experiment:
    """SGD, momentum, QHM and Adam on batches of any examples."""
    experiment = config()
    problem = experiment.problem
    assert isinstance(problem, Classification)
    problem.clusters = "random"
    experiment.run_length = 1
    experiment.optimizers = tuple(o for o in experiment.optimizers if o.base is None)
    return experiment


def quick() -> Experiment:
    """Two optimizers for a few steps on small digits."""
    experiment = config()
    experiment.problem = Classification(source="digits", model="convnet")
    experiment.optimizers = tuple(o for o in experiment.optimizers if o.name in ("SGD", "Discover"))
    for optimizer in experiment.optimizers:
        optimizer.search, optimizer.learning_rates = {}, {"1": 0.1}
    experiment.seeds = (0,)
    experiment.steps = 20
    experiment.evaluate_every = 10
    experiment.checkpoint_every = 10
    experiment.steps_per_execution = 10
    return experiment
