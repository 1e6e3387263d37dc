"""The steps of a ClusterModel on the Keras backend that is in use, chosen when imported."""

import keras

_BACKEND = keras.backend.backend()

if _BACKEND == "tensorflow":
    from tf_gradvar.training.tensorflow_step import ClusterSteps
elif _BACKEND == "jax":
    from tf_gradvar.training.jax_step import ClusterSteps  # type: ignore[assignment]
else:
    raise ImportError(
        "`tf_gradvar.training` needs the TensorFlow or the JAX backend of Keras. Received: "
        f"KERAS_BACKEND={_BACKEND}. Set KERAS_BACKEND=tensorflow or jax before the first import of "
        "keras; the optimizers, for a training loop of your own, run on every backend."
    )

__all__ = ["ClusterSteps"]
