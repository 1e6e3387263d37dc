"""Gradient Clustering: clusters of examples whose gradients are alike.

A result's `assignments` [N] are what stratified sampling, the `Stratified` estimator and
`cluster_batches` take.
"""

from tf_gradvar.clustering.gradient_clustering import GradientClustering
from tf_gradvar.clustering.result import ClusteringResult

__all__ = ["ClusteringResult", "GradientClustering"]
