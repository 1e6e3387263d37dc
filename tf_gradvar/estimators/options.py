"""Options of all that measures variances, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tf_gradvar.arguments import check_choice, check_count

METHODS = ("exact", "subset", "monte_carlo", "paper_2020")


@dataclass(frozen=True, eq=False)
class MeasuringOptions:
    r"""The keyword options of `gradient_variance`, `VarianceMeter` and `GradientVarianceLogger`.

    * ``method="exact"`` (default): in closed form, from one pass over all the examples.
    * ``"subset"``: the same from `subset_size` distinct random examples: unbiased (the
      normalized variance, a ratio, only for many examples), with its standard error by the delta
      method over the examples.
    * ``"monte_carlo"``: from `num_draws` estimates that are drawn, unbiased (ddof = 1), with its
      standard error. The only one for batch statistics and dropout (`training=True`).
    * ``"paper_2020"``: the statistic behind the figures of Faghri et al.: n estimates around the
      mean of n earlier ones. Biased: its expectation is V (1 + 1/n), and for pure noise the
      normalized variance is 1 + 1/(n-2). Only to compare with those figures.

    Attributes:
        method: As above. Defaults to "exact".
        num_draws: n, estimates that are drawn, at least 2. Defaults to 50.
        subset_size: Examples of a subset, at least 2, and 2 for each cluster. Defaults to 1024.
        seed: Seed for subsets and draws. Each estimator has its own stream. Defaults to 0.
        per_layer: Whether to measure the same for each layer. Defaults to False.
        normalized: Whether to measure the normalized variance, too; it needs the second moment
            of every coordinate. Defaults to True.
        chunk_size: The most examples in one pass; results do not depend on it. Defaults to 256.
        sample_weight: Weights `[N]` that multiply the losses. Defaults to all one.
        loss_weights: One number for each output of the model, with a `loss` that is given; those
            of `compile` go with the compiled loss. Defaults to all one.
        training: Whether layers run in training mode. Defaults to False.

    Raises:
        ValueError: An unknown method, fewer than 2 draws or examples of a subset, a `chunk_size`
            below 1.

    Example:
        >>> MeasuringOptions("subset", subset_size=500).chunk_size
        256

    Source: Faghri et al. 2020, section 4 (drawn estimates); Cochran 1977, chapters 2 and 6 (a
    random subset); the closed forms are ours.

    Cost: "exact": a pass over N examples; "subset": over `subset_size` of them; "monte_carlo":
    `num_draws` estimates, and "paper_2020" twice as many.
    """

    method: str = "exact"
    num_draws: int = 50
    subset_size: int = 1024
    seed: int = 0
    per_layer: bool = False
    normalized: bool = True
    chunk_size: int = 256
    sample_weight: Any = None
    loss_weights: Any = None
    training: bool = False

    def __post_init__(self) -> None:
        """Check what no model can be measured with."""
        check_choice("method", self.method, METHODS)
        _check_at_least_two("num_draws", self.num_draws, "estimates")
        _check_at_least_two("subset_size", self.subset_size, "examples")
        check_count("chunk_size", self.chunk_size, "the examples in one pass")

    @property
    def draws(self) -> bool:
        """Whether estimates are drawn, so that no single example is seen."""
        return self.method in ("monte_carlo", "paper_2020")


def _check_at_least_two(name: str, value: int, what: str) -> None:
    if check_count(name, value, f"the {what} that are drawn") < 2:
        raise ValueError(
            f"`{name}` must be at least 2: a variance needs two {what}. Received: {name}={value}."
        )
