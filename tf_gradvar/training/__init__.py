"""Training steps that see clusters, and where they run."""

from tf_gradvar.training.cluster_model import ClusterModel
from tf_gradvar.training.preemption import Preempted
from tf_gradvar.training.strategies import pick_strategy
from tf_gradvar.training.training_loop import train_steps

__all__ = ["ClusterModel", "Preempted", "pick_strategy", "train_steps"]
