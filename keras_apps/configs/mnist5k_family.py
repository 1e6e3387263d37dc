"""The Discover family against its rivals, each tuned with as many runs, on 5 000 MNIST digits.

Reproduces: nothing published. It is the comparison of the Discover paper (Section 5) in which
every method is at its best: the gain and the step of the buffers are tuned as the momentum and the
share nu of the rivals are. An MLP 784-256-10, ten classes as clusters.

Every optimizer gets 32 tuning runs for each number of groups in a step: 24 points of its grid,
drawn, then eight that go on from the best of them (`experiments/search.py`). The best one by the
final training loss, with a seed of its own, is then run with three seeds. Momentum is in its
moving-average form, `QHM` with nu = 1: the same steps as Keras' at 1 - momentum times the rate.
`gain="alpha"` needs no value of its own in the grid: it is the gain of the same size.

Clusters: the ten classes; ten drawn by chance; ten that Gradient Clustering finds every 300
steps. What is trained on the batches of these clusters is compared with SGD and QHM on the same
batches.

Expected: with one group in a step a small gain lowers the loss, because a long memory does; how
much of it one buffer can have, too, is what QHM with momentum 0.99 and 0.999 shows. With eight
groups in a step, which mix most of the classes, K buffers have little more to give.

Measured (three seeds, mean and standard deviation of the final training loss), classes as clusters,
one group in a step: Discover 0.0179 (0.0011; gain 0.1, alpha 0.1), QHDiscover 0.0184 (0.0001; alpha
0.1, nu 0.97), DiscoverQHM 0.0194 (0.0022), QHM 0.0207 (0.0033; momentum 0.999, nu 0.97),
DiscoverOver(Adam) 0.0289 (0.0057; gain 0.3), Adam 0.0495 (0.0035), SGD 0.0643 (0.0016), momentum
0.0644 (0.0013). So a long memory is what counts: one slow buffer divides the loss of SGD by three,
and ten buffers lower it by another 6 to 14 % in the mean, but not on every seed. Test accuracy is
95.3 % for Discover (0.3 points), 94.2 % for QHM (0.3), 95.1 % for SGD (0.6). With buffers of low
rank Discover ends at 0.0184 (0.0018) with rank 1, 0.0176 (0.0009) with rank 2 and 0.0178 (0.0018)
with rank 4: rank 1 is enough here.

With eight groups in a step: DiscoverQHM 1.5e-5 (0.4e-5; momentum 0.999, nu 0.9, alpha 0.03),
QHDiscover 3.5e-5 (0.9e-5; alpha 0.01, nu 0.97), QHM 5.3e-5 (3.3e-5; momentum 0.99, nu 0.97),
Discover 5.8e-5 (1.1e-5; gain and alpha 0.03), DiscoverOver(Adam) 7.9e-4, momentum 8.6e-4, Adam
1.4e-3, SGD 6.6e-3. So here, too, a long memory is most of it, and DiscoverQHM alone is below QHM on
every seed. Accuracy is 93.8 % for QHM, 94.3 to 94.6 % for the forms over SGD and QHM, 95.1 % for
SGD and 95.7 % for DiscoverOver(Adam) (0.2 to 0.6 points).

With two groups in a step: QHM 0.00067 (0.00011; momentum 0.999, nu 0.97), DiscoverQHM 0.00082
(0.00014), Discover 0.0014 (0.0003; gain 0.1, alpha 0.03), QHDiscover 0.0018 (0.0004),
DiscoverOver(Adam) 0.0059 (0.0016), Adam 0.0129 (0.0024), momentum 0.0164 (0.0050), SGD 0.0247
(0.0053). Here one slow buffer beats ten on every seed, and all forms beat what they are built on
but QHM. Accuracy is 94.3 % for QHM, 93.7 to 94.4 % for the forms over SGD and QHM, 96.0 % for
DiscoverOver(Adam) (0.7 points), 95.2 % for SGD.

Clusters drawn by chance, which are plain batches, one group in a step: QHM 0.0033 (0.0002),
Discover 0.0057 (0.0007; gain 0.1), SGD 0.0134 (0.0013). So mixing the batch is worth more than any
buffer, and on mixed batches ten buffers lose to one. Clusters of gradients: QHM 0.0320 (0.0055),
Discover 0.0460 (0.0038; gain 0.1), SGD 0.0674 (0.0115): better than SGD, but one buffer is better.

The same with eight groups. By chance: Discover 4.7e-5 (0.6e-5; gain and alpha 0.03), QHM 2.0e-4
(0.1e-4), SGD 2.5e-3 (0.1e-3): lower on every seed, though its clusters mean nothing, so that it is
the long memory that counts; the tuning of QHM ended at momentum 0.9 (nu 0.97), where with classes
it found 0.99 and 5.3e-5. Clusters of gradients: QHM 8.1e-5 (2.1e-5; momentum 0.99), Discover 1.9e-4
(0.5e-4), SGD 7.7e-3 (1.4e-3). Accuracy 94.5 to 95.4 %, spread as above.

Time: a run takes 7 seconds with one group in a step and 20 with eight, in one of two processes of
one thread on two cores with much other work to do.

Commands:
    python -m keras_apps.train --config mnist5k_family --workdir runs/family
    python -m keras_apps.train --config mnist5k_family:quick --workdir runs/quick
"""

from typing import Any

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment, GradientClusters

RATES = (0.1, 0.2, 0.4, 0.8, 1.6)
MOMENTUM_RATES = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
ADAM_RATES = (0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032)
# SGD has nothing but a learning rate: 32 of them, from 0.0125 to 2.7.
PLAIN_RATES = tuple(rate * 2**k for k in range(8) for rate in (0.0125, 0.015, 0.018, 0.021))
MOMENTA = (0.9, 0.99, 0.999)
SHARES = (0.7, 0.9, 0.97)
GAINS = (1.0, 0.3, 0.1, 0.03)
ALPHAS = (0.03, 0.1, 0.3)

PLAIN = {"learning_rate": PLAIN_RATES}
QHM = {"learning_rate": RATES, "momentum": MOMENTA, "nu": SHARES}
DISCOVER = {"learning_rate": RATES, "gain": GAINS, "alpha": ALPHAS}
OVER_ADAM = {"learning_rate": ADAM_RATES[1:6], "gain": GAINS, "alpha": ALPHAS}


def rivals() -> tuple[OptimizerChoice, ...]:
    """What keeps at most one buffer for all clusters."""
    return (
        OptimizerChoice("SGD", search=PLAIN),
        OptimizerChoice(
            "Momentum",
            rule="QHM",
            arguments={"nu": 1.0},
            search={"learning_rate": MOMENTUM_RATES, "momentum": (0.9, 0.95, 0.98, 0.99)},
        ),
        OptimizerChoice("QHM", search=QHM),
        OptimizerChoice(
            "Adam", search={"learning_rate": ADAM_RATES, "beta_1": (0.8, 0.9, 0.95, 0.99)}
        ),
    )


def family() -> tuple[OptimizerChoice, ...]:
    """The forms with a buffer for each cluster."""
    return (
        OptimizerChoice("Discover", base="SGD", search=DISCOVER),
        OptimizerChoice(
            "QHDiscover",
            base="QHM",
            search={"learning_rate": RATES, "alpha": (0.01, 0.1, 0.3), "nu": SHARES},
        ),
        OptimizerChoice("DiscoverQHM", base="QHM", search=QHM | {"alpha": ALPHAS}),
        OptimizerChoice(
            "DiscoverAdam",
            base="Adam",
            rule="DiscoverOver",
            arguments={"over": "Adam"},
            search=OVER_ADAM,
        ),
    )


def low_rank() -> tuple[OptimizerChoice, ...]:
    """Discover with buffers of rank 1, 2 and 4."""
    return tuple(
        OptimizerChoice(
            f"DiscoverRank{rank}",
            rule="Discover",
            base="SGD",
            arguments={"buffers": "low_rank", "rank": rank},
            search=DISCOVER,
        )
        for rank in (1, 2, 4)
    )


def on_clusters(clusters: Any) -> tuple[OptimizerChoice, ...]:
    """SGD, QHM and Discover on the batches of other clusters."""
    name = clusters.capitalize()
    rules: tuple[tuple[str, str | None, dict[str, Any]], ...] = (
        ("SGD", None, PLAIN),
        ("QHM", None, QHM),
        ("Discover", f"SGD{name}", DISCOVER),
    )
    return tuple(
        OptimizerChoice(f"{rule}{name}", rule=rule, base=base, search=search, clusters=clusters)
        for rule, base, search in rules
    )


def config() -> Experiment:
    """Seventeen optimizers with one, two and eight groups of 16 digits in a step, three seeds."""
    experiment = Experiment(
        title="The Discover family and its rivals, all tuned alike, on digits",
        problem=Classification(
            source="mnist5k", model="mlp", model_arguments={"hidden_units": [256]}
        ),
    )
    experiment.optimizers = (
        *rivals(),
        *family(),
        *low_rank(),
        *on_clusters("random"),
        *on_clusters("gradients"),
    )
    experiment.groups_per_batch = (1, 2, 8)
    experiment.group_size = 16
    experiment.steps = 1200
    experiment.seeds = (0, 1, 2)
    experiment.schedule = "cosine"
    experiment.evaluate_every = 200
    experiment.checkpoint_every = 1200
    experiment.steps_per_execution = 100
    experiment.tuning_budget = 32
    experiment.gradient_clusters = GradientClusters(every=300)
    return experiment


def quick() -> Experiment:
    """Two tuning runs and one seed of a few steps, to see that everything works."""
    experiment = config()
    kept = ("SGD", "DiscoverAdam")
    experiment.optimizers = tuple(o for o in experiment.optimizers if o.name in kept)
    experiment.groups_per_batch = (1,)
    experiment.seeds = (0,)
    experiment.steps = 20
    experiment.evaluate_every = 10
    experiment.checkpoint_every = 10
    experiment.tuning_budget = 2
    return experiment
