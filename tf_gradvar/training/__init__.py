"""Training steps that see clusters, and where they run."""

from tf_gradvar.training.cluster_model import ClusterModel
from tf_gradvar.training.strategies import pick_strategy, train_steps

__all__ = ["ClusterModel", "pick_strategy", "train_steps"]
