"""Four clusters of the gradients of a linear classifier in the plane, and where each would move it.

Reproduces: Figure 1 of Faghri et al. 2020: two Gaussian classes, a linear classifier during
training with gradient descent, four clusters by Gradient Clustering, the decision boundary now and
the one that each cluster's mean gradient would move it to; after 10 steps of gradient descent, and
at other moments of training.

Expected: points of both classes share a cluster, far apart in the plane but with gradients that are
alike; the clusters pull the boundary in different directions.

Measured (pictures in docs/results/gc_figure_1): after 10 steps a batch of one point from each
cluster has 0.19 of the variance of a plain batch of 4, and two of the four clusters hold points of
both classes. Within the clusters is 33 % of the variance of the gradients, but 77 % of that of the
points themselves.

Time: a few seconds.

Command:
    python -m keras_apps.cluster_picture --config gc_figure_1 --workdir runs/figure_1
"""

from keras_apps.experiments.two_gaussians import ClusterPicture, TwoGaussians


def config() -> ClusterPicture:
    """Four clusters after ten steps of gradient descent, and at three other moments."""
    return ClusterPicture(title="Clusters of gradients in the plane")


def quick() -> ClusterPicture:
    """Fewer points, to see that everything works."""
    picture = config()
    picture.steps = 2
    picture.problem = TwoGaussians(examples_per_class=10)
    return picture
