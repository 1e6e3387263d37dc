"""How far a model has trained, for callbacks that act at some of its steps."""

from __future__ import annotations

import keras

from tf_gradvar.optimizers.wrappers import innermost


def steps_taken(model: keras.Model) -> int:
    """The steps that the model's optimizer has taken."""
    # The innermost: up to Keras 3.8, one that scales the loss counts no steps. And not
    # int(iterations): a mirrored variable is no number.
    return int(keras.ops.convert_to_numpy(innermost(model.optimizer).iterations))


class PassedSteps:
    """Tells the steps that have passed since it was asked last."""

    def __init__(self) -> None:
        self._last = 0

    def start(self, model: keras.Model) -> int:
        """Count on from the optimizer's steps, so that a resumed run acts at the same ones."""
        self._last = steps_taken(model)
        return self._last

    def advance(self, model: keras.Model) -> range:
        """The steps since the last call: one, or several with `steps_per_execution`."""
        passed = range(self._last + 1, steps_taken(model) + 1)
        self._last = passed.stop - 1
        return passed
