"""Functions of the optimizers that differ between Keras backends, chosen when imported.

Three things have no backend-neutral form that is also fast: changing a variable (or a few
rows of a stacked one) in place, talking to the other replicas of `tf.distribute`, and
compiling a function of no arguments that assigns variables. Both modules offer the same
functions; `generic` is the readable one, and its `correct` is the definition itself.
"""

import keras

if keras.backend.backend() == "tensorflow":
    from tf_gradvar.optimizers.backend import tensorflow as functions
else:
    from tf_gradvar.optimizers.backend import generic as functions  # type: ignore[no-redef]

__all__ = ["functions"]
