"""Gradient Clustering: clusters of examples whose gradients are alike.

A result's `assignments` [N] are what stratified sampling, the `Stratified` estimator and
`cluster_batches` take.
"""

import tf_gradvar.per_example  # noqa: F401 (first: it says which backend is needed)
from tf_gradvar.clustering.gradient_clustering import GradientClustering
from tf_gradvar.clustering.of_sketches import cluster_sketches
from tf_gradvar.clustering.result import ClusteringResult

__all__ = ["ClusteringResult", "GradientClustering", "cluster_sketches"]
