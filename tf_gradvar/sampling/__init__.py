"""Draws of a batch, shared by samplers and estimators: the choice of the next examples.

    design       clusters and what a batch expects of each, by a rule
    allocation   expected draws: how the batch is shared out, and the bound of the weights
    systematic   whole draws with these expectations, their variances

in NumPy, and as streams in the graph of tf.data, each beside its rule: `systematic_stream`,
`cluster_choice` (the cluster of a group) and `shuffle` (the order inside a cluster).
"""

from tf_gradvar.sampling.design import Design, DrawingRule, design_of

__all__ = ["Design", "DrawingRule", "design_of"]
