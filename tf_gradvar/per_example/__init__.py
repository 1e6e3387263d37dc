"""Gradients of single examples from one forward and backward pass.

For every layer the pass records the inputs A and the output gradients D. They determine the
gradient of each example, and its norm, inner products, squares and sketches follow from A and D
without the gradient (for a Dense layer ||g_i||^2 = |a_i|^2 |d_i|^2). No tensor of B times the
number of parameters is formed unless `gradients` is asked for.

All gradients are of the **unreduced** loss: g_i is the gradient of the loss of example i, never
divided by the batch size. Weight regularisers belong to no example and are left out; what layers
add to the loss (`add_loss`, activity regularisers) counts where it is a mean over the examples.

That every example has a gradient of its own is checked once for each model and loss
(`independence.py`), at the cost of a few examples.

A layer class is measured by its rule (`dense.py`, `convolution.py`, `recurrent.py`, `embedding.py`,
`normalization.py`, `activations.py`, or your own with `register_rule`), anything else by an exact
fallback.
"""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "`tf_gradvar.per_example` needs the TensorFlow backend of Keras, received "
        f"'{keras.backend.backend()}'; set KERAS_BACKEND=tensorflow."
    )

from tf_gradvar.per_example.embedding import Lookup
from tf_gradvar.per_example.forms import Explicit, GradientForm
from tf_gradvar.per_example.independence import check_examples
from tf_gradvar.per_example.measure import Statistics, statistics
from tf_gradvar.per_example.outer import Outer
from tf_gradvar.per_example.quantities import (
    gradients,
    inner_products,
    second_moments,
    sketch,
    squared_norms,
    variable_layers,
)
from tf_gradvar.per_example.registry import RULES, register_rule

__all__ = [
    "RULES",
    "Explicit",
    "GradientForm",
    "Lookup",
    "Outer",
    "Statistics",
    "check_examples",
    "gradients",
    "inner_products",
    "register_rule",
    "second_moments",
    "sketch",
    "squared_norms",
    "statistics",
    "variable_layers",
]
