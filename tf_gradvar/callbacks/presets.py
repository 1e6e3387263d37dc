"""Sets of options for `GradientVarianceLogger`, by what a measurement may cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tf_gradvar.arguments import check_choice
from tf_gradvar.callbacks.schedules import Schedule, log_spaced


@dataclasses.dataclass(frozen=True)
class Preset:
    """When to measure, and how.

    Attributes:
        per_decade: Measurements while the steps grow tenfold.
        options: Of `MeasuringOptions`.
    """

    per_decade: float
    options: Mapping[str, Any]

    @property
    def due(self) -> Schedule:
        """The schedule."""
        return log_spaced(self.per_decade)


# The numbers of examples are those of the budgets of `diagnose`.
PRESETS = {
    "economy": Preset(5, {"method": "subset", "subset_size": 2_000, "normalized": False}),
    "business": Preset(10, {"method": "subset", "subset_size": 20_000, "per_layer": True}),
    "full": Preset(20, {"method": "exact", "per_layer": True}),
}


def preset_of(name: str) -> Preset:
    """Return the preset of that name.

    Args:
        name: "economy", "business" or "full".

    Raises:
        ValueError: Another name.

    Example:
        >>> preset_of("economy").options["subset_size"]
        2000
    """
    check_choice("preset", name, tuple(PRESETS))
    return PRESETS[name]
