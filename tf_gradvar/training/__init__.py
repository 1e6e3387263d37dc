"""Training steps that see clusters."""

from tf_gradvar.training.cluster_model import ClusterModel

__all__ = ["ClusterModel"]
