"""Forms: per-example gradients of one variable that need not exist as numbers.

A rule says which form the gradient of a variable takes; a form knows how to get its squared
norms, sums, sums of squares, sketches and inner products. The invariant of every form is

    form.explicit()[i] = d (unreduced loss of example i) / d variable,     summed over all
    positions and over all calls of the layer,

and everything else must equal what follows from `explicit`, however it is computed.
`GradientForm` computes all from `raw` (`explicit` in the layout that is cheapest to compute in), a
few examples at a time, so that a new form needs that method only.
"""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, TypeAlias, TypeVar

import keras
import tensorflow as tf

from tf_gradvar.per_example.forms.chunks import map_chunks
from tf_gradvar.per_example.forms.projection import Projection

# Numbers that the intermediate tensors of one slice may take: about 8 MiB of float32.
_CHUNK_NUMBERS = 2**21

_Form = TypeVar("_Form", bound="GradientForm")


class Wanted(NamedTuple):
    """What to compute from a form.

    Attributes:
        squared_norms: Whether `||g_i||^2`. Defaults to False, as the others.
        total: Whether `sum_i g_i`. Defaults to False.
        squares: Whether `sum_i g_i^2` of every coordinate. Defaults to False.
        gradients: Whether the gradients themselves. Defaults to False.
        projection: The map of a sketch, from `Recorder.projections`. Defaults to None: no sketch.

    Example:
        >>> from tf_gradvar.per_example import Explicit, Wanted
        >>> form = Explicit(tf.constant([[1.0, 2.0], [3.0, 4.0]]))
        >>> found = form.measure(Wanted(squared_norms=True, total=True))
        >>> found.squared_norms.numpy(), found.total.numpy(), found.squares is None
        (array([ 5., 25.], dtype=float32), array([4., 6.], dtype=float32), True)

    Memory: of `gradients` B times the variable, of `total` and `squares` once the variable each.
    """

    squared_norms: bool = False
    total: bool = False
    squares: bool = False
    gradients: bool = False
    projection: Projection | None = None


class Measured(NamedTuple):
    """What was computed from a form: None where it was not wanted.

    Attributes:
        squared_norms: `||g_i||^2`, `[B]`.
        total: `sum_i g_i`, `[*shape]`.
        squares: `sum_i g_i^2` of every coordinate, `[*shape]`.
        gradients: The gradients, `[B, *shape]`.
        sketch: Their projections to R numbers, `[B, R]`.
    """

    squared_norms: tf.Tensor | None = None
    total: tf.Tensor | None = None
    squares: tf.Tensor | None = None
    gradients: tf.Tensor | None = None
    sketch: tf.Tensor | None = None


@dataclass(frozen=True)
class GradientForm(abc.ABC):
    """Base of all forms of the gradients of one variable, `[B, *shape]`, of B examples.

    A form is a frozen dataclass whose tensor fields have a leading example axis. A new one
    defines `raw` and `numbers_per_example`, and `arrange` where the layout in which it computes is
    not the variable's. Whatever else it computes faster must equal what follows from `explicit`.

    Example:
        >>> import dataclasses
        >>> from tf_gradvar.per_example import GradientForm, Wanted
        >>> @dataclasses.dataclass(frozen=True)
        ... class Diagonal(GradientForm):
        ...     diagonal: tf.Tensor  # [B, n], for a variable [n, n]
        ...     def raw(self):
        ...         return tf.linalg.diag(self.diagonal)
        ...     def numbers_per_example(self):
        ...         return self.diagonal.shape[1] ** 2
        >>> form = Diagonal(tf.constant([[1.0, 2.0], [3.0, 4.0]]))
        >>> form.measure(Wanted(squared_norms=True)).squared_norms.numpy()
        array([ 5., 25.], dtype=float32)

    Memory: of what is computed from `raw`, slices of about 2 million numbers.
    """

    @abc.abstractmethod
    def raw(self) -> tf.Tensor:
        """The gradients in any fixed layout `[B, ...]`, the last axis being the columns."""

    def arrange(self, raw: tf.Tensor) -> tf.Tensor:
        """Bring gradients from the layout of `raw` into `[B, *shape]`.

        Args:
            raw: What `raw` returned, or a slice of it, `[b, ...]`.
        """
        return raw

    @abc.abstractmethod
    def numbers_per_example(self) -> int:
        """How many numbers `raw` needs at once for one example."""

    def explicit(self) -> tf.Tensor:
        """The gradients themselves, `[B, *shape]`."""
        return self.arrange(self.raw())

    def tensors(self) -> list[tf.Tensor]:
        """The fields that are tensors, `[B, ...]` each, in order."""
        values = (getattr(self, field.name) for field in fields(self))
        return [value for value in values if tf.is_tensor(value)]

    def with_tensors(self: _Form, tensors: Sequence[tf.Tensor]) -> _Form:
        """The same form with other tensors.

        Args:
            tensors: In the order of `tensors`, all with the same leading axis.
        """
        names = [f.name for f in fields(self) if tf.is_tensor(getattr(self, f.name))]
        return replace(self, **dict(zip(names, tensors, strict=True)))

    def measure(self, wanted: Wanted) -> Measured:
        """Compute what is wanted from `raw`, in slices of the batch.

        Args:
            wanted: What to compute.
        """

        def of_slice(tensors: list[tf.Tensor]) -> tuple[Measured, Measured]:
            measured = self.with_tensors(tensors).measure_slice(wanted)
            sums = Measured(total=measured.total, squares=measured.squares)
            return measured._replace(total=None, squares=None), sums

        each, sums = map_chunks(of_slice, self.tensors(), self.chunk_size())
        return Measured(
            each.squared_norms,
            None if sums.total is None else self.arrange_one(sums.total),
            None if sums.squares is None else self.arrange_one(sums.squares),
            None if each.gradients is None else self.arrange(each.gradients),
            each.sketch,
        )

    def measure_slice(self, wanted: Wanted) -> Measured:
        """Compute what is wanted for all examples at once, in the layout of `raw`.

        Args:
            wanted: What to compute.
        """
        return measure_explicit(self.raw(), wanted)

    def arrange_one(self, raw: tf.Tensor) -> tf.Tensor:
        """`arrange` for a sum over the examples, `[*shape]`.

        Args:
            raw: The sum in the layout of `raw`, without its first axis.
        """
        return self.arrange(raw[tf.newaxis])[0]

    def knows_products(self, other: GradientForm) -> bool:
        """Whether `inner_products` with a form of another class needs no explicit gradients.

        Args:
            other: A form of the same variable.
        """
        return False

    def inner_products(self, other: GradientForm) -> tf.Tensor:
        """`<g_i, h_i>` with the gradients h of another form, `[B]`.

        Args:
            other: Of the same variable and as many examples.
        """
        if type(self) is not type(other) and other.knows_products(self):
            return other.inner_products(self)
        mine = self.tensors()

        def of_slice(tensors: list[tf.Tensor]) -> tuple[tf.Tensor, None]:
            g = self.with_tensors(tensors[: len(mine)]).explicit()
            h = other.with_tensors(tensors[len(mine) :]).explicit()
            return sum_per_example(g * h), None

        return map_chunks(of_slice, [*mine, *other.tensors()], self.chunk_size())[0]

    def chunk_size(self) -> int:
        """Examples in a slice."""
        return examples_in_chunk(self.numbers_per_example())

    def joined(self: _Form, others: Sequence[_Form]) -> GradientForm:
        """The form of the sum with other forms.

        Args:
            others: Of the same class, variable and examples.
        """
        return Combined((self, *others), (1.0,) * (1 + len(others)))

    def minus(self: _Form, other: _Form) -> GradientForm:
        """The form of `g - h`, accurate where g and h nearly agree.

        Args:
            other: The form of h, of the same class, variable and examples.
        """
        return Combined((self, other), (1.0, -1.0))


def measure_explicit(gradients: tf.Tensor, wanted: Wanted) -> Measured:
    """Everything that is wanted from gradients that exist, `[B, *shape]`."""
    squares = tf.square(gradients) if wanted.squared_norms or wanted.squares else None
    sketch = None
    if wanted.projection is not None:
        sketch = wanted.projection.of_matrices(as_matrices(gradients))
    return Measured(
        squared_norms=sum_per_example(squares) if wanted.squared_norms else None,
        total=tf.reduce_sum(gradients, 0) if wanted.total else None,
        squares=tf.reduce_sum(squares, 0) if wanted.squares else None,
        gradients=gradients if wanted.gradients else None,
        sketch=sketch,
    )


def length_of(tensor: tf.Tensor, axis: int) -> Any:
    """The length of an axis: static where it is known."""
    return tf.shape(tensor)[axis] if tensor.shape[axis] is None else tensor.shape[axis]


def leading(tensor: tf.Tensor) -> Any:
    """The length of the example axis."""
    return length_of(tensor, 0)


def sum_per_example(values: tf.Tensor) -> tf.Tensor:
    """Sum over all axes but the first, `[B, ...]` -> `[B]`."""
    return tf.reduce_sum(values, list(range(1, values.shape.rank)))


def as_matrices(gradients: tf.Tensor) -> tf.Tensor:
    """`[B, ...]` -> `[B, rows, columns]` with the last axis as the columns."""
    shape = gradients.shape[1:]
    columns = shape[-1] if shape.rank else 1
    return tf.reshape(gradients, [-1, math.prod(shape[:-1]), columns])


@dataclass(frozen=True)
class Explicit(GradientForm):
    """Gradients that exist already.

    Attributes:
        gradients: One for each example, `[B, *shape]`.

    Example:
        >>> from tf_gradvar.per_example import Explicit, Wanted
        >>> form = Explicit(tf.constant([[1.0, 2.0], [3.0, 4.0]]))
        >>> form.measure(Wanted(squared_norms=True)).squared_norms.numpy()
        array([ 5., 25.], dtype=float32)

    Memory: B times the variable, all at once: for small variables such as biases.
    """

    gradients: tf.Tensor

    def raw(self) -> tf.Tensor:
        """The gradients."""
        return self.gradients

    def numbers_per_example(self) -> int:
        """The size of the variable."""
        return math.prod(self.gradients.shape[1:])

    def measure(self, wanted: Wanted) -> Measured:
        """At once: slicing would save no memory."""
        return measure_explicit(self.gradients, wanted)

    def joined(self, others: Sequence[Explicit]) -> Explicit:
        """The sum."""
        return Explicit(tf.add_n([self.gradients, *(other.gradients for other in others)]))

    def minus(self, other: Explicit) -> Explicit:
        """The difference."""
        return Explicit(self.gradients - other.gradients)


@dataclass(frozen=True)
class Combined(GradientForm):
    """A linear combination of forms: calls of unlike kinds, or a difference.

    Attributes:
        parts: Forms of the same variable.
        factors: One number each.
    """

    parts: tuple[GradientForm, ...]
    factors: tuple[float, ...]

    def raw(self) -> tf.Tensor:
        """The combination of the parts' gradients, in the layout that they share."""
        gradients = [part.raw() if self._alike() else part.explicit() for part in self.parts]
        return tf.add_n([f * g for f, g in zip(self.factors, gradients, strict=True)])

    def arrange(self, raw: tf.Tensor) -> tf.Tensor:
        """As the parts do."""
        return self.parts[0].arrange(raw) if self._alike() else raw

    def measure(self, wanted: Wanted) -> Measured:
        """Part by part where the products of the parts are known: a table that is tied."""
        if wanted.gradients or wanted.squares or not self._knows_all(self):
            return super().measure(wanted)
        measured = [part.measure(wanted) for part in self.parts]
        norms = total = sketch = None
        if wanted.squared_norms:
            pairs = itertools.combinations(self.parts, 2)
            mixed = [2.0 * part.inner_products(other) for part, other in pairs]
            norms = tf.add_n([*(m.squared_norms for m in measured), *mixed])
            norms = tf.maximum(norms, 0.0)  # but for rounding
        if wanted.total:
            total = tf.add_n([m.total for m in measured])
        if wanted.projection is not None:
            sketch = tf.add_n([m.sketch for m in measured])
        return Measured(squared_norms=norms, total=total, sketch=sketch)

    def inner_products(self, other: GradientForm) -> tf.Tensor:
        """Pair by pair where the products of the parts are known."""
        if not isinstance(other, Combined) or not self._knows_all(other):
            return super().inner_products(other)
        pairs = itertools.product(self.parts, other.parts)
        return tf.add_n([part.inner_products(theirs) for part, theirs in pairs])

    def minus(self, other: Combined) -> GradientForm:
        """Part by part, which does not cancel."""
        mine, theirs = ([type(part) for part in form.parts] for form in (self, other))
        if mine != theirs or self.factors != other.factors:
            return super().minus(other)
        pairs = zip(self.parts, other.parts, strict=True)
        return replace(self, parts=tuple(part.minus(theirs) for part, theirs in pairs))

    def numbers_per_example(self) -> int:
        """The result, and the largest part while it is formed."""
        return 2 * max(part.numbers_per_example() for part in self.parts)

    def tensors(self) -> list[tf.Tensor]:
        """The tensors of all parts."""
        return [tensor for part in self.parts for tensor in part.tensors()]

    def with_tensors(self, tensors: Sequence[tf.Tensor]) -> Combined:
        """The same combination of other tensors."""
        remaining = iter(tensors)
        parts = [
            part.with_tensors([next(remaining) for _ in part.tensors()]) for part in self.parts
        ]
        return replace(self, parts=tuple(parts))

    def _alike(self) -> bool:
        return len({type(part) for part in self.parts}) == 1

    def _knows_all(self, other: Combined) -> bool:
        """Whether both are plain sums of parts whose products with each other are known."""
        pairs = itertools.product(self.parts, other.parts)
        known = all(
            part is theirs
            or (not self._alike() and type(part) is type(theirs))
            or part.knows_products(theirs)
            or theirs.knows_products(part)
            for part, theirs in pairs
        )
        return known and set(self.factors + other.factors) == {1.0}


def total_of(forms: Sequence[GradientForm]) -> GradientForm:
    """The form of the sum over several calls that use one variable."""
    kinds: dict[type[GradientForm], list[GradientForm]] = {}
    for form in forms:
        kinds.setdefault(type(form), []).append(form)
    parts = [same[0].joined(same[1:]) if len(same) > 1 else same[0] for same in kinds.values()]
    return parts[0] if len(parts) == 1 else Combined(tuple(parts), (1.0,) * len(parts))


def difference_of(form: GradientForm, other: GradientForm) -> GradientForm:
    """The form of the difference of two gradients of one variable."""
    if type(form) is type(other):
        return form.minus(other)
    return Combined((form, other), (1.0, -1.0))


# What a rule returns: the form of the gradient of each variable.
Forms: TypeAlias = list[tuple[keras.Variable, GradientForm]]


def examples_in_chunk(numbers_per_example: int) -> int:
    """Return how many examples to work on at once, at least one."""
    return max(1, _CHUNK_NUMBERS // max(1, numbers_per_example))
