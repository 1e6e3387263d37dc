"""The Discover family against its rivals on the 60 000 real images of Fashion-MNIST.

Reproduces: nothing published. It is `mnist5k_family` at the next size: images of ten kinds of
clothes, a convolutional network of two convolutions and two dense layers (105 866 weights), the ten
classes as clusters, fewer optimizers and fewer tuning runs. 2 000 steps with one group of 16 are
half an epoch.

Every optimizer gets twenty tuning runs for each number of groups in a step: fifteen points of its
grid, drawn, then five that go on from the best of them (`experiments/search.py`). The grids are
those of `mnist5k_family` without alpha = 0.3 beside a gain. The training loss is that of 10 000
training images, the same ones every time.

The data: Debian's package dataset-fashion-mnist (`apt-get install dataset-fashion-mnist`), or a
download of TFDS.

Expected: as on digits, a small gain lowers the loss with one group in a step, and one slow buffer
does nearly as much.

Measured (three seeds, mean and standard deviation of the final training loss), one group in a step:
DiscoverOver(Adam) 0.333 (0.013; gain 0.3, alpha 0.03), QHDiscover 0.334 (0.005; alpha 0.1, nu
0.97), Discover 0.335 (0.006; gain 0.3, alpha 0.03), Adam 0.351 (0.026), QHM 0.383 (0.019; momentum
0.999, nu 0.9), SGD 0.389 (0.004), momentum 0.443 (0.020). So here one slow buffer hardly helps, and
ten do: Discover is 12 to 14 % below QHM and SGD, on every seed, and over Adam 5 % below Adam, on
every seed. Test accuracy follows: 86.0 % for Discover (0.2 points), 86.4 % over Adam (0.5), 85.6 %
for Adam (1.1), 84.2 % for QHM (0.8), 84.0 % for SGD (0.2).

Eight groups in a step: Adam 0.174 (0.008), DiscoverOver(Adam) 0.175 (0.004; gain 0.3, alpha 0.03),
QHDiscover 0.188 (0.001; alpha 0.1, nu 0.97), Discover 0.192 (0.009; gain 0.1, alpha 0.03), QHM
0.198 (0.008; momentum 0.9, nu 0.9), momentum 0.238 (0.016), SGD 0.264 (0.020). Discover (-3 %) and
QHDiscover (-5 %) are below QHM on every seed; over Adam nothing changes. Test accuracy: 90.4 % for
Discover and QHDiscover (0.2 points), 90.5 % over Adam, 90.1 % for Adam, 89.6 % for QHM (0.3).

Time: the 150 runs with one group took 45 minutes in one thread, beside much other work.

Commands:
    python -m keras_apps.train --config fashion_family --workdir runs/fashion
    python -m keras_apps.train --config fashion_family:quick --workdir runs/quick
"""

from keras_apps.configs.mnist5k_family import family, rivals
from keras_apps.experiments.classification import Classification
from keras_apps.experiments.optimizer_comparison import Experiment


def config() -> Experiment:
    """Seven optimizers with one and eight groups of 16 images in a step, three seeds."""
    experiment = Experiment(
        title="The Discover family and its rivals, all tuned alike, on images of clothes",
        problem=Classification(source="fashion_mnist", model="convnet", evaluation_examples=10_000),
    )
    compared = (*rivals(), *family())
    experiment.optimizers = tuple(o for o in compared if o.name != "DiscoverQHM")
    for optimizer in experiment.optimizers:
        if "gain" in optimizer.search:
            optimizer.search = optimizer.search | {"alpha": (0.03, 0.1)}
    experiment.groups_per_batch = (1, 8)
    experiment.group_size = 16
    experiment.steps = 2000
    experiment.seeds = (0, 1, 2)
    experiment.schedule = "cosine"
    experiment.evaluate_every = 400
    experiment.checkpoint_every = 2000
    experiment.steps_per_execution = 100
    experiment.tuning_budget = 20
    return experiment


def quick() -> Experiment:
    """Two tuning runs and one seed of a few steps on small digits."""
    experiment = config()
    experiment.problem = Classification(source="digits", model="convnet", evaluation_examples=1000)
    experiment.optimizers = tuple(o for o in experiment.optimizers if o.name == "QHDiscover")
    experiment.groups_per_batch = (1,)
    experiment.seeds = (0,)
    experiment.steps = 20
    experiment.evaluate_every = 10
    experiment.checkpoint_every = 10
    experiment.tuning_budget = 2
    return experiment
