"""The loss rule: one value for each example, equal to what Keras computes for it alone.

Measuring, training and sampling all take their losses from here. Weight regularisers belong to no
example and are left out. What layers add themselves (`add_loss`, activity regularisers) is a number
for a batch. As long as it is a mean over the examples, the sum of the whole loss over a batch of B
examples is

    sum_i L_i + B * added.
"""

from tf_gradvar.losses.model_loss import ModelLoss, overrides_compute_loss, sum_of_added
from tf_gradvar.losses.terms import LossLike, Terms

__all__ = ["LossLike", "ModelLoss", "Terms", "overrides_compute_loss", "sum_of_added"]
