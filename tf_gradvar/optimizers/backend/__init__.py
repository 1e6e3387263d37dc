"""What the optimizers need of a Keras backend beyond `keras.ops`, chosen when imported.

Three things have no backend-neutral form that is also fast: writing a few rows of a
stacked buffer in place, talking to the other replicas of `tf.distribute`, and compiling a
function of no arguments that assigns variables. Both modules offer the same functions.
"""

import keras

if keras.backend.backend() == "tensorflow":
    from tf_gradvar.optimizers.backend.tensorflow import (
        add_scaled,
        compiled,
        gather_rows,
        in_graph,
        in_order,
        num_replicas,
        on_all_replicas,
        put_rows,
        sum_over_replicas,
        wrap_train_functions,
    )
else:
    from tf_gradvar.optimizers.backend.generic import (
        add_scaled,
        compiled,
        gather_rows,
        in_graph,
        in_order,
        num_replicas,
        on_all_replicas,
        put_rows,
        sum_over_replicas,
        wrap_train_functions,
    )

__all__ = [
    "add_scaled",
    "compiled",
    "gather_rows",
    "in_graph",
    "in_order",
    "num_replicas",
    "on_all_replicas",
    "put_rows",
    "sum_over_replicas",
    "wrap_train_functions",
]
