"""Input pipelines in pure tf.data: batches by cluster, and stratified batches."""

from tf_gradvar.data.cluster_batches import cluster_batches
from tf_gradvar.data.cluster_sampling import ClusterSampling
from tf_gradvar.data.stratified_batches import stratified_batches
from tf_gradvar.data.stratified_sampling import StratifiedSampling

__all__ = ["ClusterSampling", "StratifiedSampling", "cluster_batches", "stratified_batches"]
