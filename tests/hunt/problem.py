"""A random model, its data and its loss as plain data, whose `repr` makes it again."""

from dataclasses import dataclass, field, fields
from typing import Any

# Steps after which an example may depend on the others in its batch: measured right or refused.
MIXING = ("transpose", "flat", "unflat", "centre", "total")
# Losses that compare the examples of a batch, or divide by what the whole batch holds.
MIXING_LOSSES = ("contrast", "dice")


class Data:
    """Dataclass whose `repr` leaves out what has its default value."""

    def __repr__(self):
        shown = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in fields(self)
            if getattr(self, f.name) != _default(f)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def _default(f):
    return f.default_factory() if callable(f.default_factory) else f.default


@dataclass(frozen=True, repr=False)
class Step(Data):
    """A Keras layer by its class name, or one of the forms in `building.FORMS`.

    Attributes:
        name: `"Dense"`, or `"residual"`, `"nested"`, ...
        arguments: Of the layer's constructor, or of the form.
        inside: The steps of a form that holds other steps.
    """

    name: str
    arguments: dict = field(default_factory=dict)
    inside: tuple = ()

    def all(self):
        """Return the names of this step and of all steps inside."""
        return [self.name, *(name for step in self.inside for name in step.all())]


@dataclass(frozen=True, repr=False)
class Source(Data):
    """One input: its shape without the batch axis, and what it holds.

    Attributes:
        shape: Without the batch axis.
        kind: `"normal"`, `"ids"` (integers below `high`, 0 after the end of a sequence),
            `"int32"` or `"uint8"`.
        high: For `"ids"`.
        stem: The steps that only this input goes through.
    """

    shape: tuple
    kind: str = "normal"
    high: int = 0
    stem: tuple = ()


@dataclass(frozen=True, repr=False)
class Output(Data):
    """One output: its own steps, its loss, labels and weights.

    Attributes:
        head: The steps that only this output goes through.
        loss: A key of `objectives.LOSSES`.
        arguments: Of the loss's constructor.
        labels: `"same"` shape as the output (without the last axis for sparse labels),
            `"squeezed"` or `"expanded"` by an axis of length one.
        sample_weight: None, or the shape of the weights: `"B"`, `"B1"` or `"BT"`.
        factor: Its number in `loss_weights`, or None.
    """

    head: tuple = ()
    loss: str = "mse"
    arguments: dict = field(default_factory=dict)
    labels: str = "same"
    sample_weight: str | None = None
    factor: float | None = None


@dataclass(frozen=True, repr=False)
class Problem(Data):
    """A model, data and losses.

    Attributes:
        kind: `"functional"`, `"sequential"` or `"subclassed"`.
        sources: The inputs; several are flattened after their stems and joined.
        body: The steps of the joined inputs.
        outputs: The outputs.
        batch: The number of examples.
        structure: How several inputs, outputs and labels are held: `"list"` or `"dict"`.
        policy: A Keras dtype policy; float64 also sets `floatx`.
        call: `"eager"` as users call it, `"plain"` without compiling, which takes less time,
            `"graph"` in a `tf.function`, or `"dynamic"` in one of unknown batch size.
        chunk_size: Of the second measurement.
        seed: Of weights and data.
    """

    kind: str = "functional"
    sources: tuple = ()
    body: tuple = ()
    outputs: tuple = ()
    batch: int = 3
    structure: str = "list"
    policy: str = "float32"
    call: str = "plain"
    chunk_size: int = 2
    seed: int = 0

    def names(self):
        """Return the names of all steps of the model."""
        parts = [*(s.stem for s in self.sources), self.body, *(o.head for o in self.outputs)]
        return [name for part in parts for step in part for name in step.all()]

    @property
    def draws_noise(self) -> bool:
        """Whether two calls of the model differ: nothing but a refusal is right."""
        return "noise" in self.names()

    @property
    def jumps(self) -> bool:
        """Whether rounding can change which numbers the gradient goes through."""
        return any("Max" in name for name in self.names()) or "relu" in repr(self).lower()

    @property
    def may_be_refused(self) -> bool:
        """Whether a sentence of the package is an answer as good as the right number."""
        mixing = any(name in MIXING for name in self.names()) or any(
            o.loss in MIXING_LOSSES or o.arguments.get("reduction") == "mean_with_sample_weight"
            for o in self.outputs
        )
        return mixing or self.draws_noise or self.adds_losses or self._hides_positions

    @property
    def _hides_positions(self) -> bool:
        """Whether a loss gives one number, or several, for masked positions: `fit` fails.

        A loop may not: for T = C Keras masks the channels of an example alone.
        """
        return "'mask_zero': True" in repr(self) and any(
            o.loss in ("examples", "everywhere", *MIXING_LOSSES) for o in self.outputs
        )

    @property
    def adds_losses(self) -> bool:
        """Whether layers add to the loss."""
        return "penalty" in self.names() or "activity_regularizer" in repr(self)


def describe(problem: Any) -> str:
    """Return the line that makes the problem again."""
    return f"PROBLEM = {problem!r}"
