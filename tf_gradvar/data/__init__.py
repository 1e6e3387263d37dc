"""Input pipelines in pure tf.data: batches by cluster."""

from tf_gradvar.data.cluster_batches import ClusterSampling, cluster_batches

__all__ = ["ClusterSampling", "cluster_batches"]
