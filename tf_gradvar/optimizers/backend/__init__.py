"""Functions of the optimizers that differ between Keras backends, chosen when imported.

Three things have no backend-neutral form that is also fast: changing a variable (or a few
rows of a stacked one) in place, talking to the other replicas of `tf.distribute`, and
compiling a function of no arguments that assigns variables. Both modules offer the same
functions; `generic` is the readable one, and its `correct` is the definition itself.
"""

import keras

if keras.backend.backend() == "tensorflow":
    from tf_gradvar.optimizers.backend.tensorflow import (
        add_scaled,
        compiled,
        copy_if,
        correct,
        dense,
        in_graph,
        move_towards,
        num_replicas,
        step_with_momentum,
        sum_over_replicas,
    )
else:
    from tf_gradvar.optimizers.backend.generic import (
        add_scaled,
        compiled,
        copy_if,
        correct,
        dense,
        in_graph,
        move_towards,
        num_replicas,
        step_with_momentum,
        sum_over_replicas,
    )

from tf_gradvar.optimizers.backend.train_functions import wrap_train_functions

__all__ = [
    "add_scaled",
    "compiled",
    "copy_if",
    "correct",
    "dense",
    "in_graph",
    "move_towards",
    "num_replicas",
    "step_with_momentum",
    "sum_over_replicas",
    "wrap_train_functions",
]
