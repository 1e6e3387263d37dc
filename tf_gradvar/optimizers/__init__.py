"""Keras optimizers that remove the variance between clusters of the data."""

from tf_gradvar.assignments import cluster_transfer
from tf_gradvar.optimizers.control_variate import ClusterControlVariate
from tf_gradvar.optimizers.discover import Discover, DiscoverIGT, DiscoverQHM, QHDiscover
from tf_gradvar.optimizers.discover_over import DiscoverOver
from tf_gradvar.optimizers.igt import IGT
from tf_gradvar.optimizers.qhm import QHM

__all__ = [
    "IGT",
    "QHM",
    "ClusterControlVariate",
    "Discover",
    "DiscoverIGT",
    "DiscoverOver",
    "DiscoverQHM",
    "QHDiscover",
    "cluster_transfer",
]
