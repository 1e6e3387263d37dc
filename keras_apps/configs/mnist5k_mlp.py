"""Gradient variance of an MLP on 5 000 real MNIST digits along one SGD trajectory.

Reproduces: the MNIST figure of the gradient variance study (Section 4) at the size of the bundled
digits: MLP 784-1024-1024-10, learning rate .02, momentum .5, coupled L2 5e-4, batches of 128.
SG-B, SG-2B, SVRG, the classes as strata and Gradient Clustering, each measured exactly where the
study drew batches.

Expected: SG-2B has half of the variance of SG-B. SVRG rises with the age of its snapshot. The ten
classes as strata remove little, clusters of gradients much.

Measured (one seed), the median over the second half of the steps: SVRG has 0.22 of the variance of
SG-B (0.11 to 0.53 from the first snapshot after the initial weights on), the classes as strata
0.95, Gradient Clustering 0.10. With the initial weights as its snapshot SVRG has up to 9.8 times
the variance of SG-B, and clusters that were made there leave up to 0.83. The normalized variance
of SG-B is 0.87 at step 50 and between 0.90 and 0.97 after it.

Time: 182 seconds of processor time.

Command:
    python -m keras_apps.study --config mnist5k_mlp --workdir runs/study
"""

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.trajectory import Trajectory
from keras_apps.experiments.variance_study import Study


def config() -> Study:
    """A thousand steps, measured twenty times, with four snapshots."""
    problem = Classification(source="mnist5k", model="mlp")
    problem.model_arguments = {"hidden_units": [1024, 1024], "l2": 5e-4}
    return Study(
        title="Gradient variance of an MLP on digits", problem=problem, trajectory=Trajectory()
    )


def quick() -> Study:
    """A small network and few steps, to see that everything works."""
    problem = Classification(source="mnist5k", model="mlp")
    problem.model_arguments = {"hidden_units": [16], "l2": 5e-4}
    study = config()
    study.problem = problem
    study.trajectory = Trajectory(steps=8, measure_every=2, refresh_every=4)
    return study
