"""Gradients of single examples from one forward and backward pass.

For every layer the pass records the inputs A and the output gradients D. They determine the
gradient of each example, and its norm, inner products, squares and sketches follow from A and D
without the gradient (for a Dense layer ||g_i||^2 = |a_i|^2 |d_i|^2). No tensor of B times the
number of parameters is formed unless `gradients` is asked for.

All gradients are of the **unreduced** loss: g_i is the gradient of the loss of example i, never
divided by the batch size. Weight regularisers belong to no example and are left out; what layers
add to the loss (`add_loss`, activity regularisers) counts where it is a mean over the examples.

That every example has a gradient of its own is checked once for each model and loss
(`recording/independence.py`), at the cost of a few examples.

`recording` runs the model, `rules` say for each layer class what A and D make of its variables'
gradients (add your own with `register_rule`; anything else goes by an exact fallback), `forms` are
these gradients, and `statistics.py` is what follows from them.
"""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "`tf_gradvar.per_example`, and with it `gradient_variance`, `GradientVarianceLogger`, "
        "`GradientClustering` and `diagnose`, needs the TensorFlow backend of Keras, received "
        f"'{keras.backend.backend()}'; set KERAS_BACKEND=tensorflow."
    )

from tf_gradvar.per_example.forms.centres import (
    Factors,
    factor_products,
    form_products,
    full_products,
    mean_factors,
    weighted_sums,
)
from tf_gradvar.per_example.forms.form import Explicit, GradientForm, Wanted
from tf_gradvar.per_example.forms.lookup import Lookup
from tf_gradvar.per_example.forms.outer import Outer
from tf_gradvar.per_example.quantities import gradients, inner_products, variable_layers
from tf_gradvar.per_example.recording.independence import check_examples
from tf_gradvar.per_example.recording.recorder import Recorder
from tf_gradvar.per_example.rules import (  # noqa: F401
    activations,
    convolution,
    dense,
    embedding,
    normalization,
    patch_embedding,
    positions,
    recurrent,
    scaling,
    standardization,
)
from tf_gradvar.per_example.rules.registry import RULES, register_rule
from tf_gradvar.per_example.statistics import (
    Statistics,
    second_moments,
    sketch,
    squared_norms,
    statistics,
)

__all__ = [
    "RULES",
    "Explicit",
    "Factors",
    "GradientForm",
    "Lookup",
    "Outer",
    "Recorder",
    "Statistics",
    "Wanted",
    "check_examples",
    "factor_products",
    "form_products",
    "full_products",
    "gradients",
    "inner_products",
    "mean_factors",
    "register_rule",
    "second_moments",
    "sketch",
    "squared_norms",
    "statistics",
    "variable_layers",
    "weighted_sums",
]
