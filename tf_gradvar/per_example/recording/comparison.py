"""The runs of a few examples that tell whether each of them has a gradient of its own.

Up to four examples of a batch, a, b, c and d, are compared:

    (a, b, c, d) twice       equal: no noise
    (a, a, d, d)             a and d as before: no example depends on its neighbours
    d alone                  as before: nothing depends on the size of the batch
    gradients of d alone     as before: each layer's gradients are told apart rightly

The first three are refused in a sentence where they fail; a layer that fails the last is measured
by calling again what is around it. What layers add to the loss must be the mean of what they add
for each example alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_gradvar.keras_internals import adds_loss, flatten_layers, is_seed
from tf_gradvar.per_example.recording.batches import Batch, State, tensors_in
from tf_gradvar.per_example.recording.problem import Problem
from tf_gradvar.per_example.recording.shadows import run_plainly, trace_layers


class _Limits(NamedTuple):
    """How far equal results may be apart, as a share of the largest value.

    Attributes:
        same: From batches of one size, which run through the same kernels.
        other: From batches of different sizes.
        gradients: Norms of gradients, from batches of different sizes.
    """

    same: float
    other: float
    gradients: float


# By the bytes of a number.
_LIMITS = {
    2: _Limits(2e-2, 6e-2, 0.15),
    4: _Limits(1e-5, 1e-3, 1e-2),
    8: _Limits(1e-13, 1e-10, 1e-9),
}

_WAY_OUT = "measure batches as they are instead, with method='monte_carlo'"


@dataclass(frozen=True)
class _Result:
    """What a few examples gave, in float64: the outputs, their losses, and what was added."""

    outputs: list[np.ndarray]
    losses: np.ndarray
    added: list[tf.Tensor]


class Comparison:
    """The runs of the module's docstring, and what follows from them.

    Args:
        problem: The model and its loss.
        batch: At most four examples, with values.
        state: Values to use instead of those of the variables.
        norms_of: A batch -> norm of the last example's gradient, for each variable.
    """

    def __init__(
        self,
        problem: Problem,
        batch: Batch,
        state: State,
        norms_of: Callable[[Batch], np.ndarray],
    ):
        self._problem, self._batch, self._state = problem, batch, state
        self._norms_of = norms_of
        self._count = int(tensors_in(batch.x)[0].shape[0])
        n = self._count
        everyone = np.arange(n)
        self._neighbours = np.where(everyone < n // 2, 0, n - 1) if n > 1 else everyone
        self._together = self._run_some(everyone)
        order = _with_a_loss_last(self._together.losses, n)
        if order[-1] != n - 1:
            self._batch = batch.rows(order)
            self._together = self._run_some(everyone)
        self._again = self._run(everyone, other_seeds=True)
        self._others = self._run(self._neighbours)
        added = self._together.added and not problem.loss.computes_itself
        wanted = everyone if added or problem.loss.computes_itself else everyone[-1:]
        self._alone = {int(i): self._run_some(np.array([i])) for i in wanted}
        self._limits = _LIMITS[_coarsest_precision(problem.model)]

    def verdict(self, *, refuse_noise: bool = True) -> frozenset[str] | None:
        """Raise where a comparison fails; else the layers that fail the last one.

        Args:
            refuse_noise: Whether noise is refused; else nothing is said of what draws it.

        Returns:
            Names of layers; None where nothing can be said.
        """
        if refuse_noise:
            self._refuse_noise()
        elif self._draws_noise():
            return None
        if self._count == 1:
            return None
        last = self._count - 1
        for place in (0, last):
            self._refuse_mixing(place)
        self._refuse_dependence_on_size(last)
        self._refuse_added(self._together.added)
        self._refuse_own_loss()
        norms = [self._norms_of(self._batch.rows(rows)) for rows in (np.arange(last + 1), [last])]
        return self._not_told_apart(*norms)

    def _not_told_apart(self, together: np.ndarray, alone: np.ndarray) -> frozenset[str]:
        """Layers whose part of the gradient of an example is not that of the example alone."""
        scale = max(alone.max(), together.max())
        if not np.isfinite(scale):
            return frozenset()
        allowed = self._limits.gradients * scale
        wrong = set(np.flatnonzero(np.abs(together - alone) > allowed))
        return frozenset(u.name for u in self._problem.units if wrong & set(u.indices))

    def _run(self, rows: np.ndarray, other_seeds: bool = False) -> _Result:
        part, model = self._batch.rows(rows), self._problem.model
        state = [*self._state, *(_other_seeds(model) if other_seeds else [])]
        outputs, added = run_plainly(model, part.x, state)
        losses = self._problem.losses(part, outputs, added)
        return _Result([_float64(leaf) for leaf in tensors_in(outputs)], _float64(losses), added)

    def _run_some(self, rows: np.ndarray) -> _Result:
        """Run batches of sizes that the user did not choose."""
        try:
            return self._run(rows)
        except Exception as error:
            if str(error).startswith("`"):  # a sentence of ours
                raise
            raise ValueError(
                "`model` must run on batches of any size, down to an example alone, whose "
                f"gradient is wanted. '{self._problem.model.name}' fails on a batch of "
                f"{len(rows)}: {_reason(error)} Make it take other batches, or {_WAY_OUT}."
            ) from error

    def _differs(self, ours: Any, theirs: Any, limit: float) -> bool:
        """Whether values differ by more than rounding; those that are not finite do not count."""
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        if ours.shape != theirs.shape:
            return True
        finite = np.isfinite(ours) & np.isfinite(theirs)
        if not finite.any():
            return False
        ours, theirs = ours[finite], theirs[finite]
        scale = max(np.abs(ours).max(), np.abs(theirs).max())
        return bool(np.abs(ours - theirs).max() > limit * scale)

    def _any_differs(self, ours: list[Any], theirs: list[Any], limit: float) -> bool:
        return any(self._differs(a, b, limit) for a, b in zip(ours, theirs, strict=True))

    def _draws_noise(self) -> bool:
        first, second = self._together, self._again
        outputs = self._any_differs(first.outputs, second.outputs, self._limits.same)
        return outputs or self._differs(first.losses, second.losses, self._limits.same)

    def _refuse_noise(self) -> None:
        if self._any_differs(self._together.outputs, self._again.outputs, self._limits.same):
            everyone = np.arange(self._count)
            culprit = self._culprit(everyone, everyone, None)
            raise ValueError(
                "`model` must give the same outputs at every call with training=False, but "
                f"{culprit} draws random numbers there, and the variance of its noise is not "
                f"that of the gradient. Draw them in training mode only, or {_WAY_OUT}, where the "
                "noise is part of the variance."
            )
        if self._differs(self._together.losses, self._again.losses, self._limits.same):
            raise ValueError(
                f"`loss` must give the same values at every call, but {self._problem.loss.name} "
                f"draws random numbers. Use one that does not, or {_WAY_OUT}."
            )

    def _refuse_mixing(self, place: int) -> None:
        together, others = self._together, self._others
        ours, theirs = ([_row(leaf, place) for leaf in r.outputs] for r in (together, others))
        if self._any_differs(ours, theirs, self._limits.same):
            raise self._interaction(self._culprit(np.arange(self._count), self._neighbours, place))
        if self._problem.loss.computes_itself:
            return  # compared as a whole, below
        if self._differs(together.losses[place], others.losses[place], self._limits.same):
            raise self._loss_interaction()

    def _refuse_dependence_on_size(self, place: int) -> None:
        together, alone = self._together, self._alone[place]
        ours = [_row(leaf, place) for leaf in together.outputs]
        theirs = [_row(leaf, 0) for leaf in alone.outputs]
        if self._any_differs(ours, theirs, self._limits.other):
            raise self._interaction(self._culprit(np.arange(self._count), np.array([place]), place))
        if self._problem.loss.computes_itself:
            return
        if self._differs(together.losses[place], alone.losses[0], self._limits.other):
            raise self._loss_interaction()

    def _interaction(self, culprit: str) -> ValueError:
        return ValueError(
            f"`model` must treat every example on its own, but what {culprit} makes of an example "
            "depends on the batch around it, so that no example has a gradient of its own. "
            f"Normalise or compare within an example, or {_WAY_OUT}."
        )

    def _loss_interaction(self) -> ValueError:
        return ValueError(
            f"`loss` must be a sum over the examples, but what {self._problem.loss.name} gives "
            "for an example depends on the batch around it, so that no example has a gradient "
            f"of its own. Use one that looks at one example at a time, or {_WAY_OUT}."
        )

    def _refuse_added(self, added: list[tf.Tensor]) -> None:
        if self._problem.loss.computes_itself:
            return
        for place, loss in enumerate(added):
            whole = float(tf.reduce_sum(loss))
            parts = [float(tf.reduce_sum(a.added[place])) for a in self._alone.values()]
            if self._differs([whole], [np.mean(parts)], self._limits.other):
                raise ValueError(
                    "`add_loss` must get means over the examples of a batch, but "
                    f"{self._adder(place)} adds {whole:.6g} for {self._count} examples, and "
                    f"{np.mean(parts):.6g} for one of them alone, on average. Its weight in "
                    "training depends on the size of the batch then. Add a mean over the first "
                    f"axis, or {_WAY_OUT}."
                )

    def _refuse_own_loss(self) -> None:
        problem = self._problem
        if not problem.loss.computes_itself:
            return
        x, y, sample_weight = self._batch.structure()
        outputs, added = run_plainly(problem.model, x, self._state)
        whole = problem.loss.of_batch(x, y, outputs, sample_weight, added)
        parts = [result.losses[0] for result in self._alone.values()]
        if self._differs([float(whole)], [np.mean(parts)], self._limits.other):
            raise ValueError(
                f"{problem.loss.name} must be a mean over the examples of a batch. It is "
                f"{float(whole):.6g} for {self._count} examples, and {np.mean(parts):.6g} for one "
                "of them alone, on average, so that no example has a gradient of its own. Pass a "
                f"`loss` that can be taken apart, or {_WAY_OUT}."
            )

    def _adder(self, place: int) -> str:
        """Who added the loss at this place, which the last run knows."""
        loss = list(self._alone.values())[-1].added[place]
        adders = (layer for layer in flatten_layers(self._problem.model) if adds_loss(layer, loss))
        return _called(next(adders, self._problem.model))

    def _culprit(self, rows: np.ndarray, other_rows: np.ndarray, place: int | None) -> str:
        """The first layer whose outputs differ although its inputs do not."""
        model = self._problem.model
        other_seeds = _other_seeds(model) if place is None else []
        run = trace_layers(model, self._batch.rows(rows).x, self._state)
        other = trace_layers(model, self._batch.rows(other_rows).x, [*self._state, *other_seeds])
        other_place = 0 if place is not None and len(other_rows) == 1 else place
        for (layer, *ours), (other_layer, *theirs) in zip(run, other, strict=False):
            if layer is not other_layer:
                break
            inputs, outputs = ([_row(v, place) for v in _numbers(part)] for part in ours)
            others, changed = ([_row(v, other_place) for v in _numbers(part)] for part in theirs)
            same = not self._any_differs(inputs, others, self._limits.other)
            if same and self._any_differs(outputs, changed, self._limits.same):
                return _called(layer)
        return f"'{model.name}' ({type(model).__name__})"


def _with_a_loss_last(losses: np.ndarray, count: int) -> np.ndarray:
    """An order in which the last example has a loss: weights and masks may leave others none."""
    order = np.arange(count)
    has_one = np.flatnonzero(losses) if losses.shape == (count,) else order
    if len(has_one) and has_one[-1] != count - 1:
        order[[has_one[-1], -1]] = order[[-1, has_one[-1]]]
    return order


def _other_seeds(model: keras.Model) -> list[tuple[keras.Variable, Any]]:
    """Other states for the seeds of random layers than a new scope would start from."""
    return [(v, tf.cast(v.value, v.dtype) + 1) for v in model.variables if is_seed(v)]


def _coarsest_precision(model: keras.Model) -> int:
    """The bytes of a number where the model computes with the fewest: 2, 4 or 8."""
    names = {layer.compute_dtype for layer in flatten_layers(model)}
    sizes = [tf.as_dtype(name).size for name in names if name and "float" in name]
    return max(2, min(sizes, default=4))


def _numbers(structure: Any) -> list[np.ndarray]:
    """The tensors in a structure that hold numbers, in float64."""
    kinds = (t for t in tensors_in(structure) if t.dtype.is_floating or t.dtype.is_integer)
    return [_float64(tensor) for tensor in kinds]


def _float64(tensor: Any) -> np.ndarray:
    return tf.cast(tf.convert_to_tensor(tensor), tf.float64).numpy()


def _row(values: np.ndarray, place: int | None) -> np.ndarray:
    """One example's part of an array; all of it for None or without such a row."""
    return values if place is None or not values.ndim or place >= len(values) else values[place]


def _called(layer: keras.layers.Layer) -> str:
    return f"layer '{layer.path or layer.name}' ({type(layer).__name__})"


def _reason(error: Exception) -> str:
    """The first line of a message, without the heading that Keras puts before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("Exception encountered when calling")]
    plain = re.sub(r"\x1b\[[0-9;]*m", "", told[0] if told else type(error).__name__)
    return plain.rstrip(".") + "."
